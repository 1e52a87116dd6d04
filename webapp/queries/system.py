"""The deployment as a whole."""

from sqlalchemy import Connection, select, text

from shared.persistence.models import installation


def paused(tx: Connection) -> bool:
    """Whether an admin has paused admission."""
    return bool(tx.execute(select(installation.c.paused)).scalar_one())


def schema(tx: Connection) -> str:
    """The revision of the tables."""
    return str(tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
