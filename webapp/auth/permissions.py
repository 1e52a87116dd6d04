"""What each role may do. Every view of the API carries `needs`; whose things one acts on is decided here as well."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from flask import g

from shared.domain.errors import Forbidden, Unavailable
from webapp.parts import Parts, parts
from webapp.problems import Unauthenticated

F = TypeVar("F", bound=Callable[..., Any])

NOBODY = "nobody"  # no login needed: login and refresh alone
ROLES = ("viewer", "operator", "admin")


@dataclass(frozen=True)
class Caller:
    """Who asks, with which role, by which login."""

    id: UUID
    role: str
    family: str

    @property
    def actor(self) -> str:
        """As events name them."""
        return f"user:{self.id}"

    @property
    def viewer(self) -> UUID | None:
        """For queries: whose private things are seen besides everybody's; None sees all."""
        return None if self.role == "admin" else self.id

    def must_own(self, owner: UUID | None, what: str) -> None:
        """Forbidden unless it is the caller's own, or the caller is an admin."""
        if self.role != "admin" and owner != self.id:
            raise Forbidden(f"{what} belongs to another user", remedy="ask its owner or an admin")


def needs(role: str) -> Callable[[F], F]:
    """Say which role a view needs at least: one of ROLES, or NOBODY."""
    if role not in (*ROLES, NOBODY):
        raise ValueError(f"no role {role}")

    def mark(view: F) -> F:
        view.role = role  # type: ignore[attr-defined]
        return view

    return mark


def admit(role: str) -> None:
    """Let the current request through if its token and role allow it: Unauthenticated or Forbidden if not."""
    if role == NOBODY:
        return
    identity = parts().tokens.identify()
    account = parts().accounts.find(identity.user)
    if account is None:
        raise Unauthenticated("the user of this token does not exist any more")
    if ROLES.index(account.role) < ROLES.index(role):
        raise Forbidden(f"this needs the role {role}; yours is {account.role}", remedy="ask an admin for the role")
    g.caller = Caller(account.id, account.role, identity.family)


def may_stay(parts: Parts, caller: Caller) -> bool:
    """Whether a stream that was begun may go on: the user is still there in the same role, and the login has not ended.
    Nobody is put out because the database or Redis restarts."""
    try:
        account = parts.accounts.find(caller.id)
    except Unavailable:
        return True
    return account is not None and account.role == caller.role and not parts.tokens.is_revoked(caller.family)


def caller() -> Caller:
    """Who made the current request; it was admitted."""
    found: Caller = g.caller
    return found
