"""Users, for auth."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select

from shared.persistence.models import users


def by_id(tx: Connection, user: UUID) -> Row[Any] | None:
    """id, email, role, created_at; None for one who is disabled."""
    return tx.execute(select(users.c.id, users.c.email, users.c.role, users.c.created_at)
                      .where(users.c.id == user, ~users.c.disabled)).first()


def by_email(tx: Connection, email: str) -> Row[Any] | None:
    """The same with password_hash."""
    return tx.execute(select(users).where(users.c.email == email)).first()
