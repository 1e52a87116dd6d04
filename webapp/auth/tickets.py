"""Tickets for viewers that can send no header: part of an address, good for one playback and for as long as an access
token. Made and read by the views of playbacks. A ticket ends with the login or API token that it was made for."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt

from shared.settings import WebSettings
from webapp.auth.credentials import Shown
from webapp.auth.permissions import Caller, may_stay
from webapp.auth.tokens import ISSUER, login_ended
from webapp.parts import Parts
from webapp.problems import Unauthenticated

AUDIENCE = "simyard-playback"


def make(settings: WebSettings, caller: Caller, playback: UUID, *, may_control: bool) -> str:
    """A ticket for the caller; `may_control`: to move the playback, not to look alone."""
    shown = caller.shown
    ends = datetime.now(UTC) + timedelta(minutes=settings.access_token_expire_minutes)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": ends, "sub": str(caller.id), "playback": str(playback),
              "role": caller.role, "control": may_control, "family": shown.family, "version": shown.version,
              "token": shown.token and str(shown.token), "scopes": shown.scopes}
    return jwt.encode(claims, settings.secret_key.get_secret_value(), settings.algorithm)


def read(parts: Parts, ticket: str, playback: UUID) -> tuple[Caller, bool]:
    """Whose it is, and whether he may move the playback. Unauthenticated unless it is good for this one, now."""
    try:
        claims = jwt.decode(ticket, parts.settings.secret_key.get_secret_value(), [parts.settings.algorithm],
                            {"require": ["exp", "sub"]}, audience=AUDIENCE, issuer=ISSUER)
    except jwt.ExpiredSignatureError as error:
        raise _refusal("the ticket in this address has expired", "ticket_expired") from error
    except jwt.PyJWTError as error:
        raise _refusal(f"this address has no valid ticket: {error}") from error
    if claims["playback"] != str(playback):
        raise _refusal("the ticket in this address is for another playback")
    user = UUID(claims["sub"])
    account = parts.accounts.find(user)
    caller = Caller(user, account.email if account else "", claims["role"], _shown(user, claims))
    if account is None or not may_stay(parts, caller):
        raise login_ended()
    return caller, claims["control"]


def _shown(user: UUID, claims: dict[str, Any]) -> Shown:
    token, scopes = claims["token"], claims["scopes"]
    return Shown(user, claims["family"], claims["version"], token and UUID(token),
                 None if scopes is None else tuple(scopes))


def _refusal(detail: str, code: str = "unauthenticated") -> Unauthenticated:
    return Unauthenticated(detail, code=code, remedy="GET the playback: its websocket_url has a new one")
