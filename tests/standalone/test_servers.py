"""The three servers: real ones, which let in who has the password, refuse who has not, and keep what they are given."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
import redis

from standalone.failures import NotReady, StartFailed
from standalone.ports import HOST
from standalone.seaweed import store
from standalone.servers import Servers
from tests.standalone.running import is_alive, is_deserted
from tests.standalone.test_ports import listener

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long, for paths of sockets have a limit that is soon reached."""
    return tmp_path_factory.mktemp("servers") / ("a folder with a name of some length " * 4).strip()


@pytest.fixture(scope="module")
def started(folder: Path) -> Iterator[Servers]:
    with Servers(folder, durable=False) as servers:
        yield servers


def ask(url: str, statement: str) -> object:
    session = psycopg2.connect(url)
    try:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        session.close()


def test_postgres_lets_in_who_has_the_password(started: Servers) -> None:
    assert ask(started.database_url, "SELECT current_user || '@' || current_database()") == "simyard@simyard"
    assert ask(started.database_url, "SHOW server_encoding") == "UTF8"


def test_postgres_refuses_a_wrong_password(started: Servers) -> None:
    scheme, rest = started.database_url.split("//simyard:")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(f"{scheme}//simyard:wrong@{rest.split('@')[1]}")


def test_postgres_does_not_run_as_root(started: Servers) -> None:
    inside = Path(f"/proc/{started.pids['postgres']}/status").read_text()
    capabilities = next(line.split()[1] for line in inside.splitlines() if line.startswith("CapEff"))
    assert int(capabilities, 16) == 0


def test_redis_refuses_who_has_no_password_and_a_wrong_one(started: Servers) -> None:
    with redis.Redis.from_url(started.redis_url) as client:
        assert client.ping()
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    port = int(started.redis_url.rsplit(":", 1)[1].split("/")[0])
    for password in (None, "wrong"):
        with redis.Redis(HOST, port, password=password, retry=None) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_s3_refuses_a_wrong_secret_and_an_unknown_key(started: Servers) -> None:
    store(started.s3)
    for wrong in (replace(started.s3, secret_key="wrong-secret"), replace(started.s3, access_key="nobody")):
        with pytest.raises(NotReady):
            store(wrong)


def test_no_password_can_be_seen_by_others(started: Servers, folder: Path) -> None:
    passwords = [started.database_url.split(":")[2].split("@")[0], started.redis_url.split(":")[2].split("@")[0],
                 started.s3.secret_key]
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in started.pids.values()]
    assert not [word for word in passwords for command in commands if word in command]
    open_to_others = [path for path in folder.glob("*") if path.stat().st_mode & 0o066]
    assert open_to_others == []


def test_what_they_were_given_is_there_after_a_restart_at_the_same_addresses(tmp_path: Path) -> None:
    with Servers(tmp_path, durable=False) as first:
        ask(first.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        with redis.Redis.from_url(first.redis_url) as client:
            client.set("kept", "42")
        first.s3.client().put_object(first.s3.bucket, "kept", io.BytesIO(b"42"), 2)
    assert not any(is_alive(pid) for pid in first.pids.values())
    assert is_deserted(tmp_path)
    port = int(first.s3.endpoint.split(":")[1])
    with listener(port), Servers(tmp_path, durable=False) as second:  # S3 has to move, the others need not
        assert (second.database_url, second.redis_url) == (first.database_url, first.redis_url)
        assert second.s3.endpoint != first.s3.endpoint
        assert ask(second.database_url, "SELECT answer FROM kept") == 42
        with redis.Redis.from_url(second.redis_url) as client:
            assert client.get("kept") == b"42"
        with second.s3.client().get_object(second.s3.bucket, "kept") as answer:
            assert answer.read() == b"42"


def test_configured_servers_are_used_and_none_is_started(started: Servers, tmp_path: Path) -> None:
    with Servers(tmp_path, settings=configured(started)) as servers:
        assert servers.pids == {}
        assert servers.database_url == started.database_url.replace("postgresql:", "postgresql+asyncpg:")
        assert servers.s3 == started.s3


def configured(servers: Servers) -> dict[str, str]:
    return {
        "DATABASE_URL": servers.database_url.replace("postgresql:", "postgresql+asyncpg:"),
        "REDIS_URL": servers.redis_url, "MINIO_ENDPOINT": servers.s3.endpoint,
        "MINIO_ACCESS_KEY": servers.s3.access_key, "MINIO_SECRET_KEY": servers.s3.secret_key}


@pytest.mark.parametrize(("name", "value", "complaint"), [
    ("DATABASE_URL", "mysql://a:b@c/d", "postgres: DATABASE_URL does not begin with postgresql://; correct"),
    ("DATABASE_URL", "right:wrong", "postgres: DATABASE_URL does not let us in, .* password authentication failed"),
    ("REDIS_URL", "right:wrong", "redis: REDIS_URL does not let us in, .*"),
    ("REDIS_URL", "http://127.0.0.1", "redis: REDIS_URL is not understood"),
    ("MINIO_SECRET_KEY", "wrong", "s3: 127.0.0.1:.* refuses MINIO_ACCESS_KEY or MINIO_SECRET_KEY"),
    ("MINIO_ENDPOINT", "http://127.0.0.1:9000/x", "s3: MINIO_ENDPOINT is not understood"),
    ("MINIO_ACCESS_KEY", "", "s3: MINIO_ENDPOINT is set without MINIO_ACCESS_KEY; set"),
])
def test_a_wrong_setting_is_named_with_a_remedy(
        started: Servers, tmp_path: Path, name: str, value: str, complaint: str) -> None:
    settings = configured(started)
    passwords = {"DATABASE_URL": started.database_url, "REDIS_URL": started.redis_url}
    if value == "right:wrong":
        value = passwords[name].replace(passwords[name].split(":")[2].split("@")[0], "wrong")
    with pytest.raises(StartFailed, match=complaint), Servers(tmp_path, settings={**settings, name: value}):
        pass


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standalone.servers.PATIENCE_SECONDS", 0.3)
    settings = {"DATABASE_URL": f"postgresql://a:b@{HOST}:1/c"}
    with pytest.raises(StartFailed, match=r"DATABASE_URL leads nowhere, .*refused.*; start that server, correct"), \
            Servers(tmp_path, settings=settings):
        pass
