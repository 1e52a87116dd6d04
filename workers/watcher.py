"""The long-running process that keeps rows and programs in step: `python -m workers.watcher`. One leads at a time.

Hints make it quick: what may have changed is looked at at once. The sweep makes it right: every few seconds it looks at
everything, so that no message, hint or process has to be relied on.
"""

import logging
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from time import monotonic, sleep
from uuid import UUID, uuid4

from shared import logs, traces
from shared.domain.errors import Unavailable
from shared.domain.moves import Move
from shared.domain.specs import Program
from shared.domain.states import LIVE, OVERDUE_SECONDS, Reason, State
from shared.messaging.queue import Work
from shared.persistence.queries import (
    JobRow,
    hold_lease,
    jobs_by_id,
    kept_attempts,
    live_jobs,
    overstayed_jobs,
    postpone,
)
from shared.settings import WorkerSettings, read
from workers.chores import Chores
from workers.decision import Decision, Disposal, Job, Ring, decide, dispose
from workers.doors import Doors, open_doors
from workers.runtimes.base import Name, Observation, Seen

log = logging.getLogger(__name__)

SWEEP_SECONDS = 2.0
LEASE_LIFE = timedelta(seconds=6)
BATCH = 500
TIDYING_SECONDS = 1.0  # of a sweep, for on a cluster each removal is some calls; the rest is left to the next
RINGS = 100  # in a sweep, longest overdue first: a task that waits behind thousands is late, not lost
SLICE = 200  # of all that a sweep looks at, between two looks at what is hinted
PAUSE_SECONDS = 0.5  # after a part of ours did not answer


class LeaseLost(Exception):
    """Somebody else leads now; this process may not go on."""


class Watcher:
    """Looks, decides, and has lifecycle or a task carry it out."""

    def __init__(self, doors: Doors, audit_keep_days: int = 365) -> None:
        self._database = doors.connections.database
        self._lifecycle = doors.connections.lifecycle
        self._runtime = doors.runtime
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex}"
        self._leads = False
        self._next_sweep = 0.0
        self._rings_left = RINGS
        self._chores = Chores(doors, audit_keep_days)

    def run(self, stopped: threading.Event) -> None:
        """Lead until told to stop; raises LeaseLost when another took over."""
        self._chores.start(stopped)
        while not stopped.is_set():
            try:
                self.step()
            except Unavailable as error:
                log.warning("%s", error)
                stopped.wait(PAUSE_SECONDS)

    def step(self) -> None:
        """Look at everything when that is due, then wait for hints until it is again, and look at what they name."""
        if monotonic() >= self._next_sweep:
            if not self._hold_lease():  # held three times within its life
                sleep(SWEEP_SECONDS / 2)
                return
            with traces.span("sweep"):
                self.sweep()
            self._next_sweep = monotonic() + SWEEP_SECONDS
        self._look_at_hinted(max(0.0, self._next_sweep - monotonic()))

    def _look_at_hinted(self, timeout_seconds: float) -> None:
        hinted = self._runtime.hints(timeout_seconds)
        if hinted:
            with traces.span("look"):
                _try(lambda: self.look([name.job for name in hinted]))

    def _hold_lease(self) -> bool:
        asked = monotonic()
        with self._database.transaction() as tx:
            leads = hold_lease(tx, "watcher", self._holder, LEASE_LIFE)
        self._chores.allow(asked + LEASE_LIFE.total_seconds() if leads else 0.0)
        if self._leads and not leads:
            raise LeaseLost(f"{self._holder} leads no more")
        self._leads = leads
        return leads

    # -- looking -------------------------------------------------------------------------------------------------

    def look(self, jobs: Sequence[UUID]) -> None:
        """Look at these jobs' attempts and do what follows."""
        with self._database.transaction() as tx:
            rows = jobs_by_id(tx, jobs)
        self._act(rows)

    def sweep(self) -> None:
        """Look at everything, both ways: from the rows to the programs and from the programs to the rows."""
        rows: list[JobRow] = []
        self._rings_left = RINGS
        _try(self._lifecycle.settle)
        _try(self._expire)
        _try(lambda: rows.extend(self._live()))
        for start in range(0, len(rows), SLICE):
            if start:  # all of them may take longer than the lease lasts
                self._hold_lease()
            _try(partial(self._act, rows[start:start + SLICE]))
            self._look_at_hinted(0)
        _try(self._lifecycle.admit)
        _try(lambda: self._dispose({Name(row.id, row.attempt) for row in rows}))

    def _live(self) -> Sequence[JobRow]:
        with self._database.transaction() as tx:
            return live_jobs(tx)

    def _expire(self) -> None:
        with self._database.transaction() as tx:
            rows = overstayed_jobs(tx, BATCH)
        self._lifecycle.transition_many(
            [Move(row.id, row.attempt, State.QUEUED, State.FAILED, Reason.QUEUE_TIMEOUT,
                  "it waited longer than its queue limit") for row in rows], actor="watcher")

    def _act(self, rows: Iterable[JobRow]) -> None:
        moves: list[Move] = []
        rings: list[Work] = []
        for row in rows:
            if row.state not in LIVE:
                continue
            with logs.ids(job=row.id, attempt=row.attempt):
                decision = self._decide(row)
            match decision:
                case Move() as move:
                    moves.append(move)
                case Ring() as ring:
                    rings.append(Work(ring.job, ring.state, row.kind))
        for start in range(0, len(moves), BATCH):
            _try(partial(self._lifecycle.transition_many, moves[start:start + BATCH], actor="watcher"))
        self._ring(rings)

    def _decide(self, row: JobRow) -> Decision:
        try:
            return decide(job_of(row), self._observe(row))
        except (OSError, ValueError):  # what lies in one attempt's folder may not stop the looking after all others
            log.exception("attempt %d of job %s cannot be looked at", row.attempt, row.id)
            return None

    def _observe(self, row: JobRow) -> Observation:
        """What is seen of it; unknown when it runs where we cannot look, gone when its machine was started anew, and
        not there, for which nobody is asked, before it has passed its gate."""
        if row.state == State.STARTING and row.gate_passed_at is None:
            return Observation(Seen.ABSENT)
        if row.host is not None and row.host != self._runtime.host:
            return Observation(Seen.UNKNOWN)
        seen = self._runtime.observe(Name(row.id, row.attempt))
        if row.boot not in (None, self._runtime.boot) and seen.seen != Seen.ENDED:
            return Observation(Seen.ABSENT)
        return seen

    def _ring(self, due: Sequence[Work]) -> None:
        rings = due[:self._rings_left]
        self._rings_left -= len(rings)
        for state in {ring.state for ring in rings}:
            with self._database.transaction() as tx:
                postpone(tx, [ring.job for ring in rings if ring.state == state],
                         timedelta(seconds=OVERDUE_SECONDS[state]))
        if rings:
            self._lifecycle.settle(rings)

    # -- tidying -------------------------------------------------------------------------------------------------

    def _dispose(self, known: set[Name]) -> None:
        """End, forget or put aside what no live job stands behind."""
        strange = [name for name in self._runtime.names() if name not in known]
        if not strange:
            return
        strange = random.sample(strange, min(BATCH, len(strange)))  # of those that are kept there may be more than that
        with self._database.transaction() as tx:
            rows = {row.id: row for row in jobs_by_id(tx, [name.job for name in strange])}
            kept = kept_attempts(tx, [name.job for name in strange])
        there = set(self._runtime.names())  # what was purged meanwhile lost its folder before its row
        end = monotonic() + TIDYING_SECONDS
        for name in (name for name in strange if name in there and monotonic() < end):
            with logs.ids(job=name.job, attempt=name.attempt):
                self._tidy_up(name, rows.get(name.job), kept=(name.job, name.attempt) in kept)
            self._look_at_hinted(0)

    def _tidy_up(self, name: Name, row: JobRow | None, *, kept: bool) -> None:
        try:
            self._dispose_of(name, row, kept=kept)
        except (OSError, ValueError, Unavailable):  # nor may it stop the tidying
            log.exception("%s cannot be tidied up", name)

    def _dispose_of(self, name: Name, row: JobRow | None, *, kept: bool) -> None:
        what = dispose(None if row is None else State(row.state), seen=self._runtime.observe(name),
                       is_current=row is not None and row.attempt == name.attempt, kept=kept)
        if what == Disposal.QUARANTINE:
            log.error("%s belongs to no job that we know; it is put aside, not deleted", name)
            self._runtime.quarantine(name)
        elif what == Disposal.KILL:
            log.warning("%s runs though its job does not want it; it is ended", name)
            self._runtime.kill(name)
        elif what == Disposal.REMOVE:
            self._runtime.remove(name)


def _try(part: Callable[[], object]) -> None:
    """Do it, and go on whatever is wrong with it; Unavailable is raised, for then the others would fail alike."""
    try:
        part()
    except Unavailable:
        raise
    except Exception:  # a fault in one part may stop neither the others nor the watcher; the next sweep tries again
        log.exception("a part of the watcher's round is left out")


def job_of(row: JobRow) -> Job:
    """What decide() needs of a row."""
    return Job(row.id, row.attempt, State(row.state), Program.model_validate(row.program),
               row.gate_passed_at, row.now, row.state_since, row.due_at, row.attempt_started_at,
               row.progress_at)


def main() -> None:
    """Run until SIGTERM or SIGINT; exit code 1 when the lease is lost, so that a supervisor starts us anew."""
    settings = read(WorkerSettings)
    logs.configure(settings.log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    traces.begin("simyard-watcher", settings)
    doors = open_doors(settings, application="watcher")
    try:
        Watcher(doors, settings.audit_keep_days).run(stopped)
    finally:
        doors.runtime.close()
        doors.connections.close()
        traces.end()


if __name__ == "__main__":
    main()
