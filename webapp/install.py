"""Makes a deployment ready: `python -m webapp.install`, before web and workers start and after every update.

Tables, bucket, administrator, built-in templates; then admission is opened. Safe again, and N times at once."""

import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

import migrations
from shared import logs
from shared.connections import Connections
from shared.domain.errors import SimyardError
from shared.domain.specs import TemplateSpec
from shared.persistence.database import Database
from shared.settings import InstallSettings, read
from webapp import strict_json, templates, writes
from webapp.api.resource import validate
from webapp.auth.passwords import hash_password, matches
from webapp.images.resolver import Resolver
from webapp.queries import users


class Failed(Exception):
    """The one line that says what is wrong and what to do about it."""


def main() -> None:
    """Do every step; the first that fails ends the process with exit code 1 and one line on stderr."""
    settings = read(InstallSettings)
    logs.configure("ERROR")
    connections = Connections(settings, application="install", pool_size=2)
    try:
        for part, setting, step in _steps(settings, connections):
            _do(part, setting, step)
    except Failed as failure:
        print(f"simyard install: {failure}", file=sys.stderr)
        sys.exit(1)
    finally:
        connections.close()


def _steps(settings: InstallSettings, connections: Connections) -> list[tuple[str, str, Callable[[], object]]]:
    database, images = connections.database, Resolver(settings)
    return [
        ("database", "DATABASE_URL", database.ping),
        ("tables", "DATABASE_URL", migrate),
        ("redis", "REDIS_URL", connections.pubsub.ping),
        ("storage", "MINIO_ENDPOINT", connections.store.make_bucket),
        ("administrator", "SIMYARD_ADMIN_EMAIL", lambda: make_admin(database, settings)),
        *(("template", "SIMYARD_TEMPLATES", lambda file=file: make_template(database, file, images))
          for file in settings.template_files),
        ("admission", "DATABASE_URL", lambda: connections.lifecycle.set_admission(is_open=True)),
    ]


def _do(part: str, setting: str, step: Callable[[], object]) -> None:
    try:
        step()
    except SimyardError as error:
        faults = "".join(f"; {fault.field}: {fault.message}" for fault in error.errors)
        raise Failed(f"{part} ({setting}): {error.detail}{faults}" + (f"; {error.remedy}" if error.remedy else "")
                     ) from error
    except (CommandError, SQLAlchemyError, strict_json.Malformed, OSError) as error:
        line = " ".join(str(error).split("\n[SQL")[0].split())
        raise Failed(f"{part} ({setting}): {line or type(error).__name__}") from error


def migrate() -> None:
    """Bring the tables to the newest revision; one process at a time does, the others wait for it."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    command.upgrade(config, "head")


def make_admin(database: Database, settings: InstallSettings) -> None:
    """Make the administrator, or give it the stated password."""
    if settings.simyard_admin_email is None or settings.simyard_admin_password is None:
        return
    email, password = settings.simyard_admin_email.strip().lower(), settings.simyard_admin_password.get_secret_value()
    with database.transaction() as tx:
        known = users.by_email(tx, email)
        if known is None and not writes.add_user(tx, uuid4(), email, hash_password(password), "admin"):
            known = users.by_email(tx, email)  # another install was faster
        if known is not None and not matches(known.password_hash, password):
            writes.change_user(tx, known.id, {"password_hash": hash_password(password)}, end_logins=True)


def make_template(database: Database, file: Path, images: Resolver) -> None:
    """Make the template that the file describes, or a new version of it when it differs from the newest."""
    try:
        spec = validate(TemplateSpec, strict_json.parse(file.read_bytes()))
        done = templates.install(database, spec, images)
    except (SimyardError, strict_json.Malformed) as error:
        faults = "".join(f"; {fault.field}: {fault.message}" for fault in getattr(error, "errors", ()))
        raise Failed(f"template {file} (SIMYARD_TEMPLATES): {error}{faults}; correct the file") from error
    print(f"template {spec.name} {done}")


if __name__ == "__main__":
    main()
