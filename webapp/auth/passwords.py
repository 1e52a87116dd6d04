"""Hashes and checks passwords with argon2id. Called by login and by install."""

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from webapp import offload

# OWASP's first choice for argon2id; one lane, so that a check takes one core for about 50 ms and 46 MiB.
_HASHER = PasswordHasher(time_cost=1, memory_cost=47104, parallelism=1)


def hash_password(password: str) -> str:
    """The argon2id hash to store; another one each time."""
    return offload.run(_HASHER.hash, password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is the one of the hash. Without a hash (no such user) it takes as long, and is False."""
    known = password_hash is not None
    return offload.run(_verify, password_hash or _decoy(), password) and known


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _decoy() -> str:
    return _HASHER.hash(secrets.token_hex())
