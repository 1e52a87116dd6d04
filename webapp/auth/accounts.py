"""The users as requests see them: read through a cache of half a minute, so who is deleted, disabled or logged out
everywhere loses access by then."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.domain.events import rfc3339
from shared.persistence.database import Database
from webapp.queries import users

CACHE_SECONDS = 30
CACHE_SIZE = 10_000


@dataclass(frozen=True)
class Account:
    """A user, without the password."""

    id: UUID
    email: str
    role: str
    session_version: int
    created_at: datetime

    def resource(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"id": str(self.id), "email": self.email, "role": self.role, "created_at": rfc3339(self.created_at)}


def account_of(row: Any) -> Account:
    """The account in a row of users."""
    return Account(row.id, row.email, row.role, row.session_version, row.created_at)


class Accounts:
    """Finds users by their id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[UUID, tuple[float, Account | None]] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def find(self, user: UUID) -> Account | None:
        """The user as of at most CACHE_SECONDS ago; None when there was none, or one that is disabled."""
        expires, account = self._cache.get(user, (0.0, None))
        if expires <= time.monotonic():
            account = self.read(user)
        return account

    def read(self, user: UUID) -> Account | None:
        """The user as of now."""
        changes = self._changes
        with self._database.single() as tx:
            row = users.by_id(tx, user)
        account = None if row is None or row.disabled else account_of(row)
        with self._lock:
            if changes == self._changes:  # else it may be from before the change
                if len(self._cache) >= CACHE_SIZE:
                    self._cache.clear()
                self._cache[user] = (time.monotonic() + CACHE_SECONDS, account)
        return account

    def forget(self, user: UUID) -> None:
        """The user was changed here: look again at the next request."""
        with self._lock:
            self._changes += 1
            self._cache.pop(user, None)
