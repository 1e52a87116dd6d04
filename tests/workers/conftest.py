"""A worker's doors with a real database, a fake runtime and a fake store."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from shared.domain.errors import NotFound
from shared.persistence.database import Database
from tests.fakes import FakeRuntime
from tests.shared.test_lifecycle import World
from workers.chores import Chores
from workers.doors import Doors
from workers.watcher import Watcher


class FakeStore:
    """Sizes of objects, by key."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.etags: dict[str, str] = {}
        self.deleted: list[str] = []
        self.aborted: list[str] = []

    def stat(self, key: str) -> tuple[int, str]:
        if key not in self.sizes:
            raise NotFound(key)
        return self.sizes[key], self.etags.get(key, "same")

    def abort(self, key: str, upload_id: str) -> None:
        self.aborted.append(key)

    def abort_all(self, prefix: str) -> None:
        self.aborted.append(prefix)

    def delete(self, key: str) -> None:
        self.delete_many([key])

    def delete_many(self, keys: Sequence[str]) -> list[str]:
        self.deleted += keys
        for key in keys:
            self.sizes.pop(key, None)
        return []

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.sizes if key.startswith(prefix))


class Workshop(World):
    """A world with the doors that tasks and the watcher work with."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.runtime, self.store = FakeRuntime(), FakeStore()
        connections: Any = SimpleNamespace(database=database, lifecycle=self.lifecycle, store=self.store)
        self.doors = Doors(connections, self.runtime)

    def sent(self, job: UUID) -> list[str]:
        return [str(work.state) for work in self.told.sent if work.job == job]


@pytest.fixture
def workshop(database: Database) -> Workshop:
    return Workshop(database)


def chores(doors: Doors) -> Chores:
    """Those of a watcher that leads for ever."""
    made = Chores(doors, 365)
    made.allow(math.inf)
    return made


@contextmanager
def running(watcher: Watcher) -> Iterator[None]:
    """The watcher runs during the block; it may not take longer to end than its chores do."""
    stopped = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stopped,))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(60)
        assert not thread.is_alive()
