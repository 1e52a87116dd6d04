"""Answers that were given to an Idempotency-Key."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select

from shared.persistence.models import NOW, idempotency_keys
from shared.persistence.queries import IDEMPOTENCY_KEY_LIFE


def find(tx: Connection, owner: UUID, key: str) -> Row[Any] | None:
    """request, status and body, while the key lives."""
    return tx.execute(
        select(idempotency_keys.c.request, idempotency_keys.c.status, idempotency_keys.c.body)
        .where(idempotency_keys.c.owner == owner, idempotency_keys.c.key == key,
               idempotency_keys.c.created_at >= NOW - IDEMPOTENCY_KEY_LIFE)).first()
