"""API tokens: secrets that a user makes for a program, with fewer rights than his own. Called by credentials and by the
views of /auth/tokens. The database holds a digest, so a token is shown once and never again, but to who repeats the
request with its Idempotency-Key."""

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from shared.persistence.database import Database
from shared.settings import WebSettings
from webapp import writes
from webapp.problems import Unauthenticated
from webapp.queries import users

PREFIX = "simyard_"
CACHE_SECONDS = 30
CACHE_SIZE = 10_000
RESOURCES = ("templates", "simulations", "bundles", "playbacks")
SCOPE = rf"^(admin|(({'|'.join(RESOURCES)}):)?(read|write))$"

_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_ACCESS = {"viewer": ("read", "write"), "operator": ("write",)}


@dataclass(frozen=True)
class Grant:
    """A token that was shown: whose it is, and what it may be used for."""

    token: UUID
    user: UUID
    scopes: tuple[str, ...]


class ApiTokens:
    """Recognises tokens, through a cache of half a minute: one that is deleted or expires is good for that long."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[str, tuple[float, Grant]] = {}
        self._deletions = 0
        self._lock = threading.Lock()

    def identify(self, token: str) -> Grant:
        """What the token grants; that it was used is written down. Unauthenticated unless there is one, unexpired."""
        if not _FORM.fullmatch(token):
            raise Unauthenticated("this is no API token of ours")
        digest = digest_of(token)
        expires, grant = self._cache.get(digest, (0.0, None))
        if grant is None or expires <= time.monotonic():
            deletions, grant = self._deletions, self._read(digest)
            with self._lock:
                if deletions == self._deletions:  # else it may be the one
                    if len(self._cache) >= CACHE_SIZE:
                        self._cache.clear()
                    self._cache[digest] = (time.monotonic() + CACHE_SECONDS, grant)
        return grant

    def _read(self, digest: str) -> Grant:
        with self._database.single() as tx:
            row = writes.use_token(tx, digest)
        if row is None:
            raise Unauthenticated("this API token was deleted or has expired", code="token_expired",
                                  remedy="make another one with POST /auth/tokens")
        return Grant(row.id, row.owner, tuple(row.scopes))

    def is_known(self, token: UUID | None) -> bool:
        """Whether the token, used here before, is still there."""
        with self._database.single() as tx:
            return users.has_token(tx, token)

    def forget(self, token: UUID) -> None:
        """The token was deleted here."""
        with self._lock:
            self._deletions += 1
            for digest in [digest for digest, (_, grant) in self._cache.items() if grant.token == token]:
                self._cache.pop(digest, None)


def make_seed() -> str:
    """What a new token is made of, 256 random bits: of no use without SECRET_KEY, so it may be kept for a replay."""
    return secrets.token_urlsafe(32)


def token_of(settings: WebSettings, seed: str) -> str:
    """The secret: 256 bits, recognisable to those who search repositories for what should not be there."""
    mac = hmac.digest(settings.secret_key.get_secret_value().encode(), f"api-token:{seed}".encode(), "sha256")
    return PREFIX + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def digest_of(token: str) -> str:
    """What is kept of it. It is as random as the digest is long, so nothing slower than sha256 is called for."""
    return hashlib.sha256(token.encode()).hexdigest()


def smallest(resource: str, role: str) -> str:
    """The scope that opens a view of the resource that needs this role, and least besides."""
    access = _ACCESS.get(role)
    return f"{resource}:{access[0]}" if access else "admin"


def allows(scopes: Iterable[str], resource: str, role: str) -> bool:
    """Whether these scopes open a view of the resource that needs this role: `admin` opens all, `read` and `write` what
    viewers and operators may, `<resource>:read` and `<resource>:write` the same of one resource alone."""
    wanted = {"admin"}
    for access in _ACCESS.get(role, ()):
        wanted |= {access, f"{resource}:{access}"}
    return not wanted.isdisjoint(scopes)
