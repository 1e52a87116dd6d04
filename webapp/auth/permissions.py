"""What each role may do. Every view of the API carries `needs`; whose things one acts on is decided here as well."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from flask import g

from shared.domain.errors import Forbidden, Unavailable
from webapp.auth import credentials
from webapp.auth.api_tokens import allows, smallest
from webapp.auth.credentials import Shown
from webapp.auth.tokens import login_ended
from webapp.parts import Parts, parts
from webapp.problems import Unauthenticated

F = TypeVar("F", bound=Callable[..., Any])

NOBODY = "nobody"  # no login needed: login and refresh alone
ROLES = ("viewer", "operator", "admin")


@dataclass(frozen=True)
class Caller:
    """Who asks, with which role, and by what: a login, or an API token."""

    id: UUID
    email: str
    role: str
    shown: Shown

    @property
    def actor(self) -> str:
        """As events name them."""
        return f"user:{self.id}"

    @property
    def viewer(self) -> UUID | None:
        """For queries: whose private things are seen besides everybody's; None sees all."""
        return None if self.role == "admin" else self.id

    def may_act(self, owner: UUID | None, resource: str) -> bool:
        """Whether the caller may act on what is of this owner, by what he shows; for views that only need him to look.
        `resource` is what scopes of API tokens name."""
        scopes = self.shown.scopes
        return (self.role == "admin" or (self.role == "operator" and owner == self.id)) and (
            scopes is None or allows(scopes, resource, "operator"))

    def must_own(self, owner: UUID | None, what: str) -> None:
        """Forbidden unless it is the caller's own, or the caller is an admin."""
        if self.role != "admin" and owner != self.id:
            raise Forbidden(f"{what} belongs to another user", remedy="ask its owner or an admin")


def needs(role: str, *, login: bool = False, scope: str | None = None) -> Callable[[F], F]:
    """Say which role a view needs at least: one of ROLES, or NOBODY; whether an API token is not enough; and what the
    scopes of API tokens call its resource, if not as they call its blueprint."""
    if role not in (*ROLES, NOBODY):
        raise ValueError(f"no role {role}")

    def mark(view: F) -> F:
        view.role, view.login, view.scope = role, login, scope  # type: ignore[attr-defined]
        return view

    return mark


def admit(role: str, resource: str, *, login: bool) -> None:
    """Let the current request through if what it shows and the user's role allow it: Unauthenticated or Forbidden if
    not. `resource` is what scopes of API tokens name."""
    if role == NOBODY:
        return
    shown = credentials.read()
    account = parts().accounts.find(shown.user)
    if account is None:
        raise Unauthenticated("the user of this token does not exist any more, or is disabled")
    if shown.family is not None and shown.version != account.session_version:
        raise login_ended()
    g.caller = Caller(account.id, account.email, _role(account.role, shown), shown)  # what is refused now is his
    if shown.by_cookie:
        credentials.check_csrf(shown.family or "")
    if ROLES.index(account.role) < ROLES.index(role):
        raise Forbidden(f"this needs the role {role}; yours is {account.role}", remedy="ask an admin for the role")
    _check_token(shown, role, resource, login=login)


def _role(role: str, shown: Shown) -> str:
    """The user's, but that of an operator where his API token does not say that it is an admin's."""
    return "operator" if role == "admin" and shown.scopes is not None and "admin" not in shown.scopes else role


def _check_token(shown: Shown, role: str, resource: str, *, login: bool) -> None:
    if shown.scopes is None:
        return
    if login:
        raise Forbidden("an API token may not do this", code="login_needed", remedy="log in with address and password")
    if resource != "auth" and not allows(shown.scopes, resource, role):
        wanted = smallest(resource, role)
        raise Forbidden(f"this needs the scope {wanted}; this API token has {', '.join(shown.scopes)}", code="scope",
                        remedy=f"make a token with {wanted} by POST /auth/tokens")


def may_stay(parts: Parts, caller: Caller) -> bool:
    """Whether a stream that was begun may go on: the user is still there in the same role, and the login or the token
    has not ended. Nobody is put out because the database or Redis restarts."""
    shown = caller.shown
    try:
        account = parts.accounts.find(caller.id)
        if account is None or _role(account.role, shown) != caller.role:
            return False
        if shown.family is None:
            return parts.api_tokens.is_known(shown.token)
        return shown.version == account.session_version and not parts.tokens.is_revoked(shown.family)
    except Unavailable:
        return True


def caller() -> Caller:
    """Who made the current request; it was admitted."""
    found: Caller = g.caller
    return found
