"""Databases of one's own on a running server. Used by fixtures and benchmarks."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import cursor

from tests.waiting import until

GROWN = 24 << 20  # bytes; a migrated database has 9 million


class Lender:
    """Lends empty databases, one at a time, as a template has them: what one test leaves is emptied for the next, for
    to make and drop a database takes ten times as long. Each time it has another name, so that nothing that still runs
    of a test before finds it. Whoever alters tables needs a database of his own."""

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url, self._template = server_url, template
        self._idle: str | None = None

    def __enter__(self) -> "Lender":
        with ExitStack() as undo:
            connection = undo.enter_context(closing(psycopg2.connect(self._server_url)))
            connection.autocommit = True
            self._server = undo.enter_context(connection.cursor())
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._undo.close()

    @contextmanager
    def lend(self) -> Iterator[str]:
        """The URL of an empty database that nobody else uses."""
        name, idle = f"test_{uuid4().hex}", self._idle
        self._idle = None
        self._server.execute(f"ALTER DATABASE {idle} RENAME TO {name}" if idle else
                             f"CREATE DATABASE {name} TEMPLATE {self._template}")
        url = self._server_url.rsplit("/", 1)[0] + "/" + name
        yield url
        self._disconnect(name)
        if _empty(url):
            self._idle = name
            self._disconnect(name)
        else:
            self._server.execute(f"DROP DATABASE {name}")

    def _disconnect(self, name: str) -> None:
        """End whoever uses it. Postgres, asked to rename or drop what is in use, would look every 100 ms."""
        def gone() -> bool:
            self._server.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s",
                                 [name])
            return self._server.fetchone() == (0,)

        until(gone)


def _empty(url: str) -> bool:
    """Bring every table back to what a migrated database has; false when it has grown too much to be worth it."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as asking:
        asking.execute("SELECT pg_database_size(current_database())")
        if _answer(asking) > GROWN:
            return False
        asking.execute("SELECT string_agg(format('DELETE FROM %I', tablename), ';') FROM pg_tables "
                       "WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
        asking.execute(f"SET LOCAL session_replication_role = replica; {_answer(asking)}; "
                       "INSERT INTO installation DEFAULT VALUES; SELECT pg_stat_reset()")
    return True


def _answer(asking: cursor) -> Any:
    [answer] = asking.fetchone() or [None]
    return answer


def create_database(server_url: str, name: str, *, template: str = "template0", migrate: bool = False) -> str:
    """A new database beside the server's own; its URL."""
    execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = server_url.rsplit("/", 1)[0] + "/" + name
    if migrate:
        _migrate(url)
    return url


def hasten_logins(server_url: str) -> None:
    """Have the server hash our password once instead of 4096 times, where it knows how: every test logs in anew."""
    password = server_url.rpartition("@")[0].rpartition(":")[2]
    execute(server_url, "SELECT set_config(name, '1', false) FROM pg_settings WHERE name = 'scram_iterations'; "
                        f"ALTER ROLE CURRENT_USER PASSWORD '{password}'")


def drop_database(server_url: str, name: str) -> None:
    """Drop it, whoever still uses it."""
    execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _migrate(url: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(toml_file=Path(__file__).parents[1] / "pyproject.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        command.upgrade(config, "head")


def execute(url: str, statement: str) -> None:
    """One statement, by itself."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()
