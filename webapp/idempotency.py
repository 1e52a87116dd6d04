"""Idempotency-Keys: the same creating request, sent again, gets the answer of the first. Used by the creating views."""

import hmac
import json
import re
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from flask import g, request
from pydantic import BaseModel

from shared.domain.errors import InvalidSpec
from shared.persistence.database import Database
from shared.persistence.queries import Idempotency
from shared.settings import WebSettings
from webapp.problems import BadRequest
from webapp.queries import idempotency

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

Answer = tuple[int, dict[str, Any]]
A = TypeVar("A", bound=Answer | None)


@dataclass(frozen=True)
class Key:
    """A user's key, with the MAC of what is asked."""

    owner: UUID
    key: str
    request: str

    def known(self, database: Database) -> Answer | None:
        """The answer given before, so that nothing is computed twice. InvalidSpec if it was to another request."""
        with database.single() as tx:
            row = idempotency.find(tx, self.owner, self.key)
        if row is None:
            return None
        if row.request != self.request:
            raise InvalidSpec("this Idempotency-Key was used for another request", code="idempotency_mismatch",
                              remedy="use a new key for a new request")
        return replayed((row.status, row.body))

    def answering(self, status: int, body: dict[str, Any]) -> Idempotency:
        """The key with the answer it is to have, for the transaction that makes what the answer names."""
        return Idempotency(self.owner, self.key, self.request, status, body)


def replayed(answer: A) -> A:
    """The same; if it is one, the present response will say that it was given before."""
    g.replayed = answer is not None
    return answer


def key_of_request(settings: WebSettings, owner: UUID, body: BaseModel) -> Key | None:
    """The key that the current request carries. BadRequest when it is no key."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise BadRequest("an Idempotency-Key has 1 to 255 printable ASCII characters and no space")
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    asked = f"idempotency:{request.method} {request.path}\n{canonical}"
    # With our key, for there may be a password in it: who has read the table must not be able to try some out.
    secret = settings.secret_key.get_secret_value().encode()
    return Key(owner, key, hmac.new(secret, asked.encode(), "sha256").hexdigest())
