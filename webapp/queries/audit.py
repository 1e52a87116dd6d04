"""The audit trail, as the API answers it."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from shared.domain.events import rfc3339
from shared.persistence.models import audit
from webapp.queries.paging import Page, cut, decode


def page(tx: Connection, user: UUID | None, path: str | None, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of entries, newest first; of one user, or of paths that begin like `path`."""
    query = select(audit)
    if user:
        query = query.where(audit.c.user == user)
    if path:
        query = query.where(audit.c.path.startswith(path, autoescape=True))
    if page.cursor is not None:
        query = query.where(audit.c.id < decode(page.cursor, _number))
    rows, following = cut(tx.execute(query.order_by(audit.c.id.desc()).limit(page.limit + 1)).all(), page,
                          lambda row: [row.id])
    return [{"number": row.id, "at": rfc3339(row.at), "user": row.user and str(row.user), "email": row.email,
             "token": row.token and str(row.token), "address": row.address, "method": row.method, "path": row.path,
             "status": row.status, "request": row.request, "detail": row.detail} for row in rows], following


def _number(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**63:
        raise ValueError("no number")
    return number
