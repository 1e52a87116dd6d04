"""The status of simulations, which a thousand clients poll: one statement reads it for all who have asked meanwhile.
Nobody is given what was read before he asked."""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.domain.errors import Unavailable
from shared.persistence.database import Database
from webapp.queries import simulations

log = logging.getLogger(__name__)

CROWD = 4  # where so many shared a statement, the next waits a little for more to share it
GATHER_SECONDS = 0.002


@dataclass(frozen=True)
class Status:
    """The document as it is sent, its ETag, and who may see it: everybody, or if it is private the owner."""

    body: bytes
    etag: str
    owner: UUID | None
    private: bool


class Batch:
    """Those who wait for the same statement, and what comes of it."""

    def __init__(self) -> None:
        self.wanted: set[UUID] = set()
        self.waiting = 0
        self.read = threading.Event()
        self.found: Mapping[UUID, Status] = {}
        self.failure: Unavailable | None = None


class Statuses:
    """Reads them in a thread of its own, begun by the first who asks; one statement at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._next = Batch()
        self._thread: threading.Thread | None = None

    def find(self, simulation: UUID, viewer: UUID | None) -> Status | None:
        """The status as of now, if the viewer (None sees all) may see it."""
        with self._lock:
            batch = self._next
            batch.wanted.add(simulation)
            batch.waiting += 1
            first = batch.waiting == 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="statuses", daemon=True)
                self._thread.start()
        if first:
            self._asked.set()
        batch.read.wait()
        if batch.failure is not None:
            raise Unavailable(batch.failure.detail, code=batch.failure.code, remedy=batch.failure.remedy)
        status = batch.found.get(simulation)
        return status if status and (not status.private or viewer in (None, status.owner)) else None

    def _run(self) -> None:
        batch = Batch()
        while self._asked.wait():
            self._asked.clear()
            if batch.waiting >= CROWD:
                time.sleep(GATHER_SECONDS)
            with self._lock:
                batch, self._next = self._next, Batch()
            try:
                batch.found = self._read(batch.wanted)
            except Unavailable as error:
                batch.failure = error
            except Exception:  # the thread reads for every later request too
                log.exception("statuses were not read")
                batch.failure = Unavailable("the status could not be read; it has been logged")
            batch.read.set()

    def _read(self, wanted: set[UUID]) -> dict[UUID, Status]:
        if not wanted:
            return {}
        with self._database.single() as tx:
            found = simulations.statuses(tx, wanted)
        return {simulation: _status(*each) for simulation, each in found.items()}


def _status(document: dict[str, Any], owner: UUID | None, private: bool) -> Status:
    body = f"{json.dumps(document)}\n".encode()
    return Status(body, hashlib.sha256(body).hexdigest()[:32], owner, private)
