"""/auth: logging in, going on, logging out, who one is, and tokens for one's programs."""

from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

from flask import Response, request

from shared.domain.errors import FieldError, InvalidSpec, NotFound
from shared.persistence.queries import claim_answer
from webapp import audit, writes
from webapp.api.headers import REPLAYED, having
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.auth import Login, MadeToken, Me, NewToken, Refresh, TokenList, TokenPair, Verified
from webapp.api.schemas.base import Id, PageQuery
from webapp.auth import credentials
from webapp.auth.accounts import account_of
from webapp.auth.api_tokens import digest_of, make_seed, token_of
from webapp.auth.passwords import matches
from webapp.auth.permissions import NOBODY, caller, needs
from webapp.auth.tokens import login_ended
from webapp.idempotency import Answer, Key, key_of_request, replayed
from webapp.parts import parts
from webapp.problems import Unauthenticated
from webapp.queries import users

doors = Resource("login", "Logging in and out", tag="auth", public=True)
api = Resource("auth", "Logging in and out")


@doors.post("/auth/login", responses={200: TokenPair, 429: PROBLEM})
@needs(NOBODY)
def login(body: Login) -> Response:
    """Log in with address and password. The tokens are answered, and set as cookies for browsers.

    After some wrong tries for an account, or from an address, the next ones have to wait."""
    email, address = body.email.strip().lower(), request.remote_addr or ""
    audit.note(email=email)
    parts().throttle.begin(email, address)
    with parts().connections.database.single() as tx:
        row = users.by_email(tx, email)
    if not matches(row.password_hash if row else None, body.password) or row is None or row.disabled:
        raise Unauthenticated("there is no user with this address and password", code="bad_credentials")
    parts().throttle.succeed(email, address)
    pair = parts().tokens.begin(account_of(row))
    return credentials.set_cookies(answer(pair), pair)


@doors.post("/auth/refresh", responses={200: TokenPair})
@needs(NOBODY)
def refresh(body: Refresh) -> Response:
    """Spend a refresh token, stated or in the cookie, for the next pair.

    Spent again within 10 seconds it gives the same successor, if that is unused; otherwise it voids the whole login."""
    token = credentials.refresh_token(body.refresh_token)
    account = parts().accounts.read(parts().tokens.holder(token))  # first, for when that fails nothing is spent
    if account is None:
        raise Unauthenticated("the user of this token does not exist any more, or is disabled")
    audit.holder(account)
    if body.refresh_token is None:
        credentials.check_csrf(parts().tokens.family_of(token))
    spent = parts().tokens.rotate(token)
    if account.session_version != spent.version:
        raise login_ended()
    pair = parts().tokens.answer(account, spent.family, spent.number)
    return credentials.set_cookies(answer(pair), pair)


@api.post("/auth/logout", responses={204: None})
@needs("viewer", login=True)
def logout() -> Response:
    """End the login that this access token belongs to; its refresh token is void at once."""
    parts().tokens.revoke(caller().shown.family or "")
    return credentials.clear_cookies(Response(status=204))


@api.post("/auth/logout-all", responses={204: None})
@needs("viewer", login=True)
def logout_everywhere() -> Response:
    """End every login of the user: refresh tokens are void at once, access tokens in 30 seconds. API tokens stay."""
    with parts().connections.database.transaction() as tx:
        writes.change_user(tx, caller().id, {}, end_logins=True)
    parts().accounts.forget(caller().id)
    return credentials.clear_cookies(Response(status=204))


@api.get("/auth/me", responses={200: Me})
@needs("viewer")
def me() -> Response:
    """Who is asking, by which API token if by one, and what of his limits is used."""
    account = parts().accounts.find(caller().id)
    if account is None:
        raise Unauthenticated("the user of this token does not exist any more, or is disabled")
    with parts().connections.database.single() as tx:
        usage = users.usage(tx, account.id, parts().connections.limits)
        token = users.shown_token(tx, caller().shown.token)
    return answer(account.resource() | {"role": caller().role, "quota": usage, "token": token})


@api.get("/auth/verify", responses={200: Verified})
@needs("viewer")
def verify() -> Response:
    """Whether the token counts, for whom and with which role: cheap, for probes and proxies."""
    return answer({"valid": True, "user": str(caller().id), "role": caller().role})


@api.get("/auth/tokens", responses={200: TokenList})
@needs("viewer", login=True)
def list_tokens(query: PageQuery) -> Response:
    """One's own API tokens, newest first."""
    with parts().connections.database.single() as tx:
        items, following = users.tokens_page(tx, caller().id, query.page())
    return answer({"items": items, "next": following})


@api.post("/auth/tokens", responses={201: having(MadeToken, REPLAYED)})
@needs("viewer", login=True)
def create_token(body: NewToken) -> Response:
    """Make an API token for a program: it acts as its owner, within its scopes.

    It is shown this once, and again only to who repeats the request with its Idempotency-Key."""
    audit.note(name=body.name, scopes=list(body.scopes))
    key = key_of_request(parts().settings, caller().id, body)
    status, made = (key and key.known(parts().connections.database)) or _make_token(body, key)
    token = token_of(parts().settings, made.pop("seed"))
    return answer(made | {"token": token}, status)


def _make_token(body: NewToken, key: Key | None) -> Answer:
    """With the token's seed in its place."""
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise InvalidSpec("not valid: expires_at", code="invalid", errors=[FieldError("expires_at", "has passed")])
    seed = make_seed()
    with parts().connections.database.transaction() as tx:
        new = body.model_dump() | {"id": uuid4(), "last_used_at": None, "created_at": writes.now(tx)}
        made = users.token_resource(SimpleNamespace(**new)) | {"seed": seed}
        if key and (known := claim_answer(tx, key.answering(201, made))):
            return replayed(known)
        writes.add_token(tx, caller().id, digest_of(token_of(parts().settings, seed)), **new)
    return 201, made


@api.delete("/auth/tokens/<uuid:id>", responses={204: None, 404: PROBLEM})
@needs("viewer", login=True)
def delete_token(path: Id) -> Response:
    """Void one of one's own API tokens, here at once and everywhere within 30 seconds."""
    with parts().connections.database.transaction() as tx:
        gone = writes.delete_token(tx, caller().id, path.id)
    parts().api_tokens.forget(path.id)
    if not gone:
        raise NotFound(f"there is no API token {path.id}")
    return Response(status=204)
