"""Who makes the current request: by a bearer token in the header (of a login, or an API token), or by a browser's
cookies. Called by permissions, and by the views that log in and out.

Cookies come along by themselves, also with requests that another site made the browser send: what changes anything must
show by a header that a script of ours sent it (double submit, bound to the login)."""

import hmac
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from flask import Response, request

from shared.domain.errors import Forbidden
from webapp.auth.api_tokens import PREFIX
from webapp.auth.tokens import REFRESH_LIFE
from webapp.parts import parts
from webapp.problems import BadRequest, Unauthenticated

ACCESS, REFRESH, CSRF = "access_token_cookie", "refresh_token_cookie", "csrf_access_token"
CSRF_HEADER = "X-CSRF-TOKEN"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Shown:
    """What the request shows of its sender. A login has a family and a version of the user's sessions, an API token an
    id and scopes. What came by cookies counts only once check_csrf has let it pass."""

    user: UUID
    family: str | None = None
    version: int | None = None
    token: UUID | None = None
    scopes: tuple[str, ...] | None = None
    by_cookie: bool = False


def read() -> Shown:
    """Unauthenticated when nothing valid is shown, BadRequest when header and cookie name different users."""
    header = request.headers.get("Authorization")
    cookie = request.cookies.get(ACCESS) if "HTTP_COOKIE" in request.environ else None  # programs have none to be read
    if header is None and cookie is None:
        raise Unauthenticated("the request has no access token", remedy="log in, and send Authorization: Bearer …")
    if header is None:
        return replace(_login(cookie or ""), by_cookie=True)
    shown = _bearer(header)
    if cookie is not None and (other := _user_of(cookie)) not in (None, shown.user):
        raise BadRequest(f"the Authorization header names user {shown.user}, the cookie {other}", code="two_users",
                         remedy="send one of them")
    return shown


def _bearer(header: str) -> Shown:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or " " in token:
        raise Unauthenticated("the Authorization header must be: Bearer <token>")
    if token.startswith(PREFIX):
        grant = parts().api_tokens.identify(token)
        return Shown(grant.user, token=grant.token, scopes=grant.scopes)
    return _login(token)


def _login(token: str) -> Shown:
    identity = parts().tokens.identify(token)
    return Shown(identity.user, identity.family, identity.version)


def _user_of(cookie: str) -> UUID | None:
    """Whom a cookie beside a header names; one that is void names nobody."""
    try:
        return parts().tokens.identify(cookie).user
    except Unauthenticated:
        return None


def check_csrf(family: str) -> None:
    """Forbidden unless the request changes nothing, or shows that a page of ours sent it by this login's cookies."""
    if request.method in SAFE:
        return
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden(f"this request comes from a page of {origin}", code="csrf")
    if not hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), parts().tokens.csrf(family).encode()):
        raise Forbidden(f"a request by cookies needs the header {CSRF_HEADER}", code="csrf",
                        remedy=f"send the value of the cookie {CSRF}")


def refresh_token(stated: str | None) -> str:
    """The refresh token of the body, or else of the cookie, which counts only once check_csrf has let it pass."""
    if stated is not None:
        return stated
    cookie = request.cookies.get(REFRESH)
    if cookie is None:
        raise Unauthenticated("the request has no refresh token", remedy="log in")
    return cookie


def set_cookies(response: Response, pair: dict[str, Any]) -> Response:
    """The pair as cookies too. Scripts can read but the one for the header."""
    family = parts().tokens.family_of(pair["refresh_token"])
    life = timedelta(seconds=pair["expires_in"])
    _set(response, ACCESS, pair["access_token"], life)
    _set(response, REFRESH, pair["refresh_token"], REFRESH_LIFE, path=_refresh_path())
    _set(response, CSRF, parts().tokens.csrf(family), REFRESH_LIFE, httponly=False)
    return response


def clear_cookies(response: Response) -> Response:
    """Have the browser forget them."""
    for name, path in ((ACCESS, "/"), (CSRF, "/"), (REFRESH, _refresh_path())):
        response.delete_cookie(name, path=path, samesite="Strict", secure=request.is_secure)
    return response


def _set(response: Response, name: str, value: str, life: timedelta, *, path: str = "/", httponly: bool = True) -> None:
    response.set_cookie(name, value, max_age=life, path=path, httponly=httponly, samesite="Strict",
                        secure=request.is_secure)


def _refresh_path() -> str:
    return f"{parts().settings.api_str}/auth/refresh"
