"""The small writes that are no states: users, templates, bundles, and what recorders report. Called by install,
templates, api.bundles, progress and internal, each inside a transaction of its own."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.domain.states import LIVE
from shared.persistence.deletion import hold_still
from shared.persistence.models import NOW, attempts, bundles, jobs, template_versions, templates, users


def now(tx: Connection) -> datetime:
    """The database's time, the only one that is written down."""
    at: datetime = tx.execute(select(NOW)).scalar_one()
    return at


# -- users --------------------------------------------------------------------------------------------------------

def add_user(tx: Connection, email: str, password_hash: str, role: str) -> bool:
    """Make the user; False when there is one of that address already."""
    return tx.execute(upsert(users).values(id=uuid4(), email=email, password_hash=password_hash, role=role)
                      .on_conflict_do_nothing()).rowcount == 1


def set_password(tx: Connection, user: UUID, password_hash: str) -> None:
    """Give the user another password."""
    tx.execute(update(users).where(users.c.id == user).values(password_hash=password_hash))


# -- templates ----------------------------------------------------------------------------------------------------

def add_template(tx: Connection, owner: UUID | None, spec: dict[str, Any], at: datetime) -> bool:
    """Make the template with version 1; False when the name is taken."""
    template = uuid4()
    made = tx.execute(upsert(templates).values(id=template, name=spec["name"], owner=owner, created_at=at)
                      .on_conflict_do_nothing()).rowcount == 1
    if made:
        tx.execute(insert(template_versions).values(template=template, version=1, spec=spec, created_at=at))
    return made


def add_version(tx: Connection, name: str, spec: dict[str, Any]) -> int | None:
    """Give the template another version unless its newest is the same; the new number. Locks the template."""
    template = tx.execute(select(templates.c.id).where(templates.c.name == name).with_for_update()).scalar_one()
    newest = tx.execute(select(template_versions.c.version, template_versions.c.spec)
                        .where(template_versions.c.template == template)
                        .order_by(template_versions.c.version.desc()).limit(1)).one()
    if newest.spec == spec:
        return None
    tx.execute(insert(template_versions).values(template=template, version=newest.version + 1, spec=spec))
    return int(newest.version) + 1


# -- bundles --------------------------------------------------------------------------------------------------------

def change_bundle(tx: Connection, bundle: UUID, values: dict[str, Any]) -> None:
    """Change labels, hold or keep_days of a bundle. NotFound when it is deleted meanwhile."""
    hold_still(tx, [bundle])
    tx.execute(update(bundles).where(bundles.c.id == bundle).values(values))


# -- what recorders report ------------------------------------------------------------------------------------------

def append_log(tx: Connection, job: UUID, attempt: int, *, offset: int, skipped: int, chunk: bytes,
               window: int) -> int:
    """Add `chunk` (UTF-8) to the attempt's log if it goes on where the log ends, and keep the last `window` bytes;
    nothing of before when bytes were skipped.

    Returns where the log ends now: another place than the caller thinks, when the chunk was not taken."""
    this = (attempts.c.job == job, attempts.c.number == attempt)
    row = tx.execute(select(attempts.c.log_tail, attempts.c.log_end).where(*this).with_for_update()).one()
    end = int(row.log_end)
    if offset != end or not chunk:
        return end
    before = b"" if skipped else row.log_tail.encode()
    tail = (before + chunk)[-window:].decode(errors="ignore")
    tx.execute(update(attempts).where(*this).values(log_tail=tail, log_end=end + skipped + len(chunk)))
    return end + skipped + len(chunk)


def set_log_key(tx: Connection, job: UUID, attempt: int, key: str) -> None:
    """The whole log lies in object storage."""
    tx.execute(update(attempts).where(attempts.c.job == job, attempts.c.number == attempt).values(log_key=key))


def set_facts(tx: Connection, job: UUID, attempt: int, facts: str) -> None:
    """Keep what the recorder found, a JSON text that has been parsed strictly."""
    tx.execute(text("UPDATE attempts SET facts = CAST(:facts AS jsonb) WHERE job = :job AND number = :attempt"),
               {"facts": facts, "job": job, "attempt": attempt})


def set_address(tx: Connection, job: UUID, attempt: int, address: dict[str, Any]) -> None:
    """Keep where the attempt's player listens."""
    tx.execute(update(attempts).where(attempts.c.job == job, attempts.c.number == attempt).values(address=address))


def set_progress(tx: Connection, latest: Iterable[tuple[UUID, int, dict[str, Any]]]) -> None:
    """The last (job, attempt, progress) of each; those whose attempt is over are left alone. Locks jobs by id."""
    statement = (update(jobs)
                 .where(jobs.c.id == bindparam("row"), jobs.c.attempt == bindparam("n"),
                        or_(*(jobs.c.state == state for state in sorted(LIVE))))  # no IN (...): many rows at once
                 .values({"progress": bindparam("latest", type_=JSONB), "progress_at": NOW}))
    rows = [{"row": job, "n": attempt, "latest": progress} for job, attempt, progress in latest]
    tx.execute(statement, sorted(rows, key=lambda row: str(row["row"])))
