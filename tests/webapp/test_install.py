"""The install step as it is run: a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from shared.persistence.admission import set_open
from shared.persistence.models import installation, template_versions, users
from standalone.servers import Servers
from tests.databases import create_database, drop_database, execute
from tests.webapp.web import API, SECRET, Web
from webapp.install import Failed, main, make_template

EMAIL, PASSWORD = "Admin@Example.com", "first password"
TEMPLATE = {"name": "built-in", "command": ["/bin/true"]}


def environment(servers: Servers, database_url: str, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "REDIS_URL": servers.redis_url,
            "MINIO_ENDPOINT": servers.s3.endpoint, "MINIO_ACCESS_KEY": servers.s3.access_key,
            "MINIO_SECRET_KEY": servers.s3.secret_key, "MINIO_BUCKET": f"b{uuid4().hex}", "SECRET_KEY": SECRET,
            "SIMYARD_ADMIN_EMAIL": EMAIL, "SIMYARD_ADMIN_PASSWORD": PASSWORD} | more


def begin(variables: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-W", "error", "-m", "webapp.install"], env=variables, cwd=folder,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def install(variables: dict[str, str], folder: Path) -> tuple[int, str]:
    with begin(variables, folder) as process:
        out, err = process.communicate(timeout=100)
    return process.returncode, out + err


@pytest.fixture
def template_file(tmp_path: Path) -> Path:
    file = tmp_path / "template.json"
    file.write_text(json.dumps(TEMPLATE))
    return file


def test_many_at_once_make_an_empty_database_ready(servers: Servers, tmp_path: Path, template_file: Path) -> None:
    name = f"test_{uuid4().hex}"
    url = create_database(servers.database_url, name)
    variables = environment(servers, url, SIMYARD_TEMPLATES=str(template_file))
    processes = [begin(variables, tmp_path) for _ in range(3)]
    for process in processes:
        with process:
            _, err = process.communicate(timeout=100)
        assert (process.returncode, err) == (0, "")
    execute(url, "SELECT 1/(count(*) = 1)::int FROM users")
    execute(url, "SELECT 1/(count(*) = 1)::int FROM template_versions")
    drop_database(servers.database_url, name)


def test_installing_again_changes_what_differs(
        web: Web, servers: Servers, database_url: str, tmp_path: Path, template_file: Path) -> None:
    with web.database.transaction() as tx:
        set_open(tx, False)
    variables = environment(servers, database_url, SIMYARD_TEMPLATES=str(template_file))
    assert install(variables, tmp_path)[0] == 0
    client = web.app.test_client()

    def login(password: str) -> int:
        return client.post(f"{API}/auth/login", json={"email": EMAIL, "password": password}).status_code

    assert login(PASSWORD) == 200
    template_file.write_text(json.dumps(TEMPLATE | {"description": "changed"}))
    assert install(variables | {"SIMYARD_ADMIN_PASSWORD": "another password"}, tmp_path) \
        == (0, "template built-in changed, now version 2\n")
    assert (login(PASSWORD), login("another password")) == (401, 200)
    with web.database.transaction() as tx:
        assert sorted(tx.execute(select(template_versions.c.version)).scalars()) == [1, 2]
        assert tx.execute(select(users.c.role).where(users.c.email == EMAIL.lower())).scalar() == "admin"
        assert tx.execute(select(installation.c.admission_open)).scalar()


WRONG = {
    "a database that is down": ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:9/x"}, "DATABASE_URL", 1),
    "a Redis that is down": ({"REDIS_URL": "redis://127.0.0.1:9/0"}, "REDIS_URL", 1),
    "an S3 that is down": ({"MINIO_ENDPOINT": "127.0.0.1:9"}, "MINIO_ENDPOINT", 1),
    "an S3 that refuses": ({"MINIO_SECRET_KEY": "wrong-password"}, "MINIO_SECRET_KEY", 1),
    "a template that is not there": ({"SIMYARD_TEMPLATES": "/nowhere.json"}, "/nowhere.json", 1),
    "an admin without a password": ({"SIMYARD_ADMIN_PASSWORD": ""}, "SIMYARD_ADMIN_PASSWORD", 78),
    "a short secret": ({"SECRET_KEY": "short"}, "SECRET_KEY", 78),
}


def test_a_failure_is_one_line_that_names_the_setting(
        servers: Servers, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)  # where no .env is
    wrong_password = servers.database_url.split("@")[0].rsplit(":", 1)[0] + ":wrong@" + database_url.split("@")[1]
    cases = WRONG | {"a wrong password": ({"DATABASE_URL": wrong_password}, "password authentication failed", 1)}
    monkeypatch.setattr("webapp.install.logs.configure", lambda level: None)
    for what, (wrong, said, code) in cases.items():
        for name, value in environment(servers, database_url, **({"SIMYARD_TEMPLATES": ""} | wrong)).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as caught:
            main()
        err = capsys.readouterr().err
        assert caught.value.code == code, (what, err)
        assert err.count("\n") == 1 and said in err, (what, err)
        assert PASSWORD not in err


@pytest.mark.parametrize(("content", "said"), [
    ("{", "not JSON"), ('{"name": "x"}', "command: is required where there is no image"),
    ('{"name": "X Y", "command": ["x"]}', "name"),
    ('{"name": "x", "command": ["x"], "parameters": {"type": "flaot"}}', "parameters.type"),
])
def test_a_template_file_that_is_none_is_named(web: Web, template_file: Path, content: str, said: str) -> None:
    template_file.write_text(content)
    with pytest.raises(Failed, match=said) as caught:
        make_template(web.database, template_file, web.parts.images)
    assert str(template_file) in str(caught.value)
