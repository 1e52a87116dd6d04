"""The last word on each running job: told at once but at most once a second a job, written every two seconds in one
statement. Fed by recorders through internal."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shared.domain.errors import Unavailable
from shared.domain.events import Event
from shared.domain.states import State
from shared.messaging.pubsub import PubSub
from shared.persistence.database import Database
from webapp import writes

log = logging.getLogger(__name__)

TELL_SECONDS = 1.0
WRITE_SECONDS = 2.0


@dataclass(frozen=True)
class Report:
    """What a recorder said of its job."""

    job: UUID
    attempt: int
    simulation: UUID | None
    kind: str
    state: State
    progress: dict[str, Any]

    def event(self) -> Event:
        """Without a number: it is no history."""
        return Event(number=None, simulation=self.simulation, job=self.job, kind=self.kind, state=self.state,
                     reason=None, at=datetime.now(UTC), attempt=self.attempt, progress=self.progress)


class Progress:
    """Keeps the latest report of each job until it is told and written. Its thread begins with the first report."""

    def __init__(self, database: Database, pubsub: PubSub) -> None:
        self._database = database
        self._pubsub = pubsub
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._unwritten: dict[UUID, Report] = {}
        self._untold: dict[UUID, Report] = {}
        self._told_at: dict[UUID, float] = {}
        self._thread: threading.Thread | None = None

    def report(self, report: Report) -> None:
        """Take it down, and tell it if the job's last one is a second old."""
        with self._lock:
            self._unwritten[report.job] = report
            self._untold[report.job] = report
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
                self._thread.start()
        self._tell()

    def close(self) -> None:
        """Write what is unwritten and stop."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=3)

    def write(self) -> None:
        """Write what is unwritten; what could not be written is kept for the next time, unless newer came in."""
        with self._lock:
            reports, self._unwritten = self._unwritten, {}
        if not reports:
            return
        try:
            with self._database.transaction() as tx:
                writes.set_progress(tx, [(each.job, each.attempt, each.progress) for each in reports.values()])
        except Unavailable as error:
            log.warning("progress was not written yet: %s", error)
            self._keep(reports)

    def _keep(self, reports: Mapping[UUID, Report]) -> None:
        with self._lock:
            self._unwritten = {**reports, **self._unwritten}

    def _tell(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [job for job in self._untold if now - self._told_at.get(job, -TELL_SECONDS) >= TELL_SECONDS]
            events = [self._untold.pop(job).event() for job in due]
            self._told_at.update(dict.fromkeys(due, now))
        try:
            if events:
                self._pubsub.publish(events)
        except Unavailable as error:
            log.warning("%d reports of progress were not published: %s", len(events), error)

    def _run(self) -> None:
        written = time.monotonic()
        while not self._closing.wait(TELL_SECONDS / 2):
            self._step(write=time.monotonic() - written >= WRITE_SECONDS)
            if time.monotonic() - written >= WRITE_SECONDS:
                written = time.monotonic()
        self._step(write=True)

    def _step(self, *, write: bool) -> None:
        try:
            self._tell()
            if write:
                self.write()
                self._forget()
        except Exception:  # the thread serves every later report too
            log.exception("progress was not written")

    def _forget(self) -> None:
        """Drop the times of jobs that have said nothing for long."""
        limit = time.monotonic() - 60
        with self._lock:
            self._told_at = {job: at for job, at in self._told_at.items() if at > limit}
