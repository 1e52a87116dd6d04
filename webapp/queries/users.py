"""Users, their API tokens and what they use."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select

from shared.domain.events import rfc3339
from shared.domain.states import LIVE, Kind
from shared.persistence import quotas
from shared.persistence.models import api_tokens, jobs, users
from webapp.queries.paging import Page, newest_first


def by_id(tx: Connection, user: UUID) -> Row[Any] | None:
    """All columns of the user, unless he was deleted."""
    return tx.execute(select(users).where(users.c.id == user, users.c.deleted_at.is_(None))).first()


def by_email(tx: Connection, email: str) -> Row[Any] | None:
    """The same by address."""
    return tx.execute(select(users).where(users.c.email == email, users.c.deleted_at.is_(None))).first()


def page(tx: Connection, role: str | None, email: str | None, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of users, newest first."""
    query = select(users).where(users.c.deleted_at.is_(None))
    if role:
        query = query.where(users.c.role == role)
    if email:
        query = query.where(users.c.email.icontains(email, autoescape=True))
    rows, following = newest_first(tx, query, users, page)
    return [resource(row) for row in rows], following


def resource(row: Any) -> dict[str, Any]:
    """A user as admins see him."""
    return {"id": str(row.id), "email": row.email, "role": row.role, "disabled": row.disabled,
            "max_running": row.max_running, "max_queued": row.max_queued, "max_stored_bytes": row.max_stored_bytes,
            "created_at": rfc3339(row.created_at)}


def usage(tx: Connection, user: UUID, defaults: quotas.Limits) -> dict[str, Any]:
    """What the user uses of what he may, each `{used, limit}`; a limit of null is none."""
    running = tx.execute(select(func.count()).select_from(jobs).where(
        jobs.c.owner == user, jobs.c.kind == Kind.INSTANCE, jobs.c.state.in_(LIVE))).scalar_one()
    limits = quotas.limits_of(tx, user, defaults)
    return {"running": {"used": running, "limit": limits.running},
            "queued": {"used": quotas.queued(tx, user), "limit": limits.queued},
            "stored_bytes": {"used": quotas.stored_bytes(tx, user), "limit": limits.stored_bytes}}


def has_token(tx: Connection, token: UUID | None) -> bool:
    """Whether the API token is there and has not expired."""
    return tx.execute(select(api_tokens.c.id).where(
        api_tokens.c.id == token,
        func.coalesce(api_tokens.c.expires_at > func.clock_timestamp(), True))).first() is not None


def shown_token(tx: Connection, token: UUID | None) -> dict[str, Any] | None:
    """What the API token is called and may, and until when; None when it has just been deleted."""
    row = tx.execute(select(api_tokens).where(api_tokens.c.id == token)).first()
    shown = ("id", "name", "scopes", "expires_at")
    return None if row is None else {name: value for name, value in token_resource(row).items() if name in shown}


def tokens_page(tx: Connection, owner: UUID, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of a user's API tokens, newest first; of each all but the token itself."""
    rows, following = newest_first(tx, select(api_tokens).where(api_tokens.c.owner == owner), api_tokens, page)
    return [token_resource(row) for row in rows], following


def token_resource(row: Any) -> dict[str, Any]:
    """An API token as its owner sees it."""
    return {"id": str(row.id), "name": row.name, "scopes": row.scopes,
            "expires_at": row.expires_at and rfc3339(row.expires_at),
            "last_used_at": row.last_used_at and rfc3339(row.last_used_at), "created_at": rfc3339(row.created_at)}
