"""/auth: logging in, going on, logging out, and who one is."""

from flask import Response

from webapp.api.resource import Resource, answer
from webapp.api.schemas.auth import Login, Me, Refresh, TokenPair
from webapp.auth.accounts import Account
from webapp.auth.passwords import matches
from webapp.auth.permissions import NOBODY, caller, needs
from webapp.parts import parts
from webapp.problems import Unauthenticated
from webapp.queries import users

doors = Resource("login", "Logging in and out", tag="auth", public=True)
api = Resource("auth", "Logging in and out")
BAD_CREDENTIALS = Unauthenticated("there is no user with this address and password", code="bad_credentials")


@doors.post("/auth/login", responses={200: TokenPair})
@needs(NOBODY)
def login(body: Login) -> Response:
    """Log in with address and password."""
    with parts().connections.database.single() as tx:
        row = users.by_email(tx, body.email.strip().lower())
    if not matches(row.password_hash if row else None, body.password) or row is None:
        raise BAD_CREDENTIALS
    return answer(parts().tokens.begin(Account(row.id, row.email, row.role, row.created_at)))


@doors.post("/auth/refresh", responses={200: TokenPair})
@needs(NOBODY)
def refresh(body: Refresh) -> Response:
    """Spend a refresh token for the next pair.

    Spent again within 10 seconds it gives the same successor, if that is unused; otherwise it voids the whole login."""
    user, family, number = parts().tokens.rotate(body.refresh_token)
    account = parts().accounts.read(user)
    if account is None:
        raise Unauthenticated("the user of this token does not exist any more")
    return answer(parts().tokens.answer(account, family, number))


@api.post("/auth/logout", responses={204: None})
@needs("viewer")
def logout() -> Response:
    """End the login that this access token belongs to; its refresh token is void at once."""
    parts().tokens.revoke(caller().family)
    return Response(status=204)


@api.get("/auth/me", responses={200: Me})
@needs("viewer")
def me() -> Response:
    """Who is asking."""
    account = parts().accounts.find(caller().id)
    if account is None:
        raise Unauthenticated("the user of this token does not exist any more")
    return answer(account.resource())
