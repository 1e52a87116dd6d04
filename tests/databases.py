"""Databases of one's own on a running server. Used by fixtures and benchmarks."""

from pathlib import Path

import psycopg2
import pytest


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
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()
