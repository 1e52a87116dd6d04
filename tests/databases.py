"""Databases of one's own on a running server. Used by fixtures and benchmarks."""

from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

# What emptying takes, as statements: deleting is the cheapest of a little, truncating of much.
EMPTY = """
SELECT string_agg(CASE WHEN pg_relation_size(oid) < 1000000 THEN format('DELETE FROM %s', oid::regclass)
                       ELSE format('TRUNCATE %s CASCADE', oid::regclass) END, '; ') FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
AND pg_relation_size(oid) > 0
"""
RESTART = """
SELECT string_agg(format('ALTER SEQUENCE %s RESTART', oid::regclass), '; ') FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
"""


class Lender:
    """Lends empty, migrated databases. To empty one takes a server a fraction of what making and dropping one takes.

    One that came back is lent under another name: what its last user left running does not find it again.
    """

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url, self._template = server_url, template
        self._server = psycopg2.connect(server_url)
        self._server.autocommit = True
        self._emptied: list[str] = []

    def lend(self) -> str:
        """The URL of a database that nobody else uses."""
        if self._emptied:
            return self._emptied.pop()
        return create_database(self._server_url, _any_name(), template=self._template)

    def take_back(self, url: str) -> None:
        """Throw out who is still in it, for good, and empty it."""
        old, new = url.rsplit("/", 1)[1], _any_name()
        with self._server.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {old} ALLOW_CONNECTIONS false")
            cursor.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", [old])
            cursor.execute(f"ALTER DATABASE {old} RENAME TO {new}")
            cursor.execute(f"ALTER DATABASE {new} ALLOW_CONNECTIONS true")
        url = url.removesuffix(old) + new
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")  # no key is looked after meanwhile
            for statements in (EMPTY, RESTART):
                cursor.execute(statements)
                cursor.execute(cursor.fetchone()[0])
            cursor.execute("INSERT INTO installation DEFAULT VALUES")
        self._emptied.append(url)

    def close(self) -> None:
        """The databases end with their server."""
        self._server.close()


def create_database(server_url: str, name: str, *, template: str = "template0", migrate: bool = False) -> str:
    """A new database beside the server's own; its URL."""
    execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = server_url.rsplit("/", 1)[0] + "/" + name
    if migrate:
        _migrate(url)
    return url


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
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(statement)


def _any_name() -> str:
    return f"test_{uuid4().hex}"
