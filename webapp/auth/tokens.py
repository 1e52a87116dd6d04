"""Access tokens (short-lived JWTs) and refresh tokens, whose families live in Redis. Called by auth's views and by
credentials. A refresh token is `<family>.<number>.<mac>`: it is derived, so Redis holds no secret."""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import redis
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import ExpiredSignatureError, PyJWTError

from shared.domain.errors import Unavailable
from shared.settings import WebSettings
from webapp.auth.accounts import Account
from webapp.problems import Unauthenticated

ISSUER = "simyard"
AUDIENCE = "simyard-api"
REFRESH_LIFE = timedelta(days=30)
GRACE_SECONDS = 10
REVOCATION_CACHE_SECONDS = 30
REDIS_PAUSE_SECONDS = 5
CACHE_SIZE = 10_000

_TOKEN = re.compile(r"([0-9a-f]{32})\.([0-9]{1,9})\.([A-Za-z0-9_-]{43})")

# KEYS[1] family; ARGV[1] number of the token shown, ARGV[2] grace, ARGV[3] life in ms.
# Answers {verdict, number, version of the user's sessions}. A family that is not whole is as good as none.
# The successor is unused exactly while the family's current number is the one after the shown token's.
_ROTATE = """
local family = redis.call('HMGET', KEYS[1], 'current', 'rotated', 'version')
for i = 1, 3 do
    if not family[i] or not string.find(family[i], '^%d+$') then return {'unknown'} end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local shown, current = tonumber(ARGV[1]), tonumber(family[1])
if shown == current then
    redis.call('HSET', KEYS[1], 'current', current + 1, 'rotated', now)
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return {'rotated', tostring(current + 1), family[3]}
end
if shown == current - 1 and now - tonumber(family[2]) <= tonumber(ARGV[2]) then
    return {'rotated', tostring(current), family[3]}
end
redis.call('DEL', KEYS[1])
return {'reused'}
"""


@dataclass(frozen=True)
class Identity:
    """Whom an access token names, the login it descends from, and of which version of the user's sessions that is."""

    user: UUID
    family: str
    version: int


@dataclass(frozen=True)
class Rotated:
    """What a refresh token was spent for: the next one of its login."""

    family: str
    number: int
    version: int


class Tokens:
    """Makes, rotates, checks and revokes tokens. Unavailable when Redis is needed and down."""

    def __init__(self, client: redis.Redis, settings: WebSettings) -> None:
        self._redis = client
        self._secret = settings.secret_key.get_secret_value().encode()
        self._life = timedelta(minutes=settings.access_token_expire_minutes)
        self._rotate = client.register_script(_ROTATE)
        self._revoked: dict[str, tuple[float, bool]] = {}
        self._redis_down_until = 0.0
        self._verified: dict[str, tuple[float, Identity | None]] = {}

    def begin(self, account: Account) -> dict[str, Any]:
        """A new login: the answer of /auth/login."""
        family = secrets.token_hex(16)
        with translate_errors():
            pipeline = self._redis.pipeline()
            pipeline.hset(_key(family), mapping={
                "user": str(account.id), "current": 1, "rotated": 0, "version": account.session_version})
            pipeline.expire(_key(family), REFRESH_LIFE)
            pipeline.execute()
        return self.answer(account, family, 1)

    def holder(self, token: str) -> UUID:
        """Whose login a refresh token belongs to; it is not spent by that."""
        family = self.family_of(token)
        with translate_errors():
            user = self._redis.hget(_key(family), "user")
        try:
            return UUID(str(user))
        except ValueError as error:
            raise _expired() from error

    def rotate(self, token: str) -> Rotated:
        """Spend a refresh token for its successor."""
        family, number = self._read(token)
        with translate_errors():
            verdict, *found = self._rotate(
                keys=[_key(family)],
                args=[number, GRACE_SECONDS * 1000, int(REFRESH_LIFE.total_seconds() * 1000)])
        if verdict == "rotated":
            return Rotated(family, int(found[0]), int(found[1]))
        if verdict == "reused":
            raise Unauthenticated("this refresh token was used before; every token of its login is void now",
                                  code="token_reused", remedy="log in again; if it was not you who used it, "
                                                              "change the password")
        raise _expired()

    def answer(self, account: Account, family: str, number: int) -> dict[str, Any]:
        """The contract's token document."""
        access = create_access_token(str(account.id), expires_delta=self._life,
                                     additional_claims={"role": account.role, "family": family,
                                                         "version": account.session_version})
        return {"access_token": access, "refresh_token": self._refresh_token(family, number),
                "token_type": "bearer", "expires_in": int(self._life.total_seconds())}

    def revoke(self, family: str) -> None:
        """Void the login's refresh tokens at once, and its access tokens (in other processes: half a minute later)."""
        with translate_errors():
            pipeline = self._redis.pipeline()
            pipeline.delete(_key(family))
            pipeline.set(_revoked_key(family), 1, ex=self._life + timedelta(minutes=1))
            pipeline.execute()
        _remember(self._revoked, family, (time.monotonic() + REVOCATION_CACHE_SECONDS, True))

    def identify(self, token: str) -> Identity:
        """Whom the access token names. Unauthenticated unless it is ours, for this use, and now."""
        expires, identity = self._verified.get(token, (0.0, None))
        if identity is None or expires <= time.time():
            expires, identity = _verify(token)
            _remember(self._verified, token, (expires, identity))
        if self.is_revoked(identity.family):
            raise login_ended()
        return identity

    def csrf(self, family: str) -> str:
        """What a browser's script repeats to show that a request by this login's cookies is its own."""
        return hmac.new(self._secret, f"csrf:{family}".encode(), hashlib.sha256).hexdigest()

    def family_of(self, refresh_token: str) -> str:
        """The login that a refresh token belongs to. Unauthenticated when it is none of ours."""
        return self._read(refresh_token)[0]

    def is_revoked(self, family: str) -> bool:
        """Whether the login was ended, as of at most REVOCATION_CACHE_SECONDS ago."""
        expires, revoked = self._revoked.get(family, (0.0, False))
        if expires <= time.monotonic() and self._redis_down_until <= time.monotonic():
            try:
                exists = bool(self._redis.exists(_revoked_key(family)))
            except redis.RedisError:
                # An access token is good without Redis, for the minutes that it lives; and a Redis that hangs must not
                # hold up every request.
                self._redis_down_until = time.monotonic() + REDIS_PAUSE_SECONDS
                return revoked
            revoked = exists or self._revoked.get(family, (0.0, False))[1]  # `revoke` may have come meanwhile
            _remember(self._revoked, family, (time.monotonic() + REVOCATION_CACHE_SECONDS, revoked))
        return revoked

    def _refresh_token(self, family: str, number: int) -> str:
        mac = hmac.digest(self._secret, f"refresh:{family}:{number}".encode(), hashlib.sha256)
        return f"{family}.{number}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def _read(self, token: str) -> tuple[str, int]:
        found = _TOKEN.fullmatch(token)
        if not found or not hmac.compare_digest(token, self._refresh_token(found[1], int(found[2]))):
            raise Unauthenticated("this is no refresh token of ours", remedy="log in again")
        return found[1], int(found[2])


def _verify(token: str) -> tuple[float, Identity]:
    """The token's end and whom it names. What was verified once stays so until then: signatures cost a tenth of a
    request."""
    try:
        claims = decode_token(token)
        if claims["type"] != "access":
            raise ValueError("not an access token")
        return float(claims["exp"]), Identity(UUID(claims["sub"]), str(claims["family"]), int(claims["version"]))
    except ExpiredSignatureError as error:
        raise Unauthenticated("the access token has expired", remedy="POST /auth/refresh, or log in") from error
    except (JWTExtendedException, PyJWTError, KeyError, ValueError, TypeError, AttributeError) as error:
        # the last four: signed with our key, but not made here
        raise Unauthenticated("this is no access token of ours", remedy="log in") from error


def login_ended() -> Unauthenticated:
    """The refusal of a login that has ended. A new one each time: an exception keeps every place it was raised at."""
    return Unauthenticated("this login has ended", code="token_revoked", remedy="log in again")


def _expired() -> Unauthenticated:
    return Unauthenticated("this refresh token is not valid any more", code="token_expired", remedy="log in again")


def configure(app: Flask, settings: WebSettings) -> None:
    """Teach flask-jwt-extended our one algorithm, issuer and audience; where tokens come from is credentials' own."""
    app.config.update(
        JWT_SECRET_KEY=settings.secret_key.get_secret_value(), JWT_ALGORITHM=settings.algorithm,
        JWT_DECODE_ALGORITHMS=[settings.algorithm], JWT_TOKEN_LOCATION=["headers"], JWT_COOKIE_CSRF_PROTECT=False,
        JWT_ENCODE_ISSUER=ISSUER, JWT_DECODE_ISSUER=ISSUER, JWT_ENCODE_AUDIENCE=AUDIENCE,
        JWT_DECODE_AUDIENCE=AUDIENCE, JWT_DECODE_LEEWAY=5)
    JWTManager(app)


def _remember(cache: dict[str, Any], key: str, value: Any) -> None:
    if len(cache) >= CACHE_SIZE:
        cache.clear()
    cache[key] = value


def _key(family: str) -> str:
    return f"simyard:refresh:{family}"


def _revoked_key(family: str) -> str:
    return f"simyard:revoked:{family}"


@contextmanager
def translate_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(f"Redis, which keeps the logins, does not answer: {error}", code="redis_unavailable",
                          remedy="see that Redis runs and that REDIS_URL is right") from error
