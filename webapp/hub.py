"""Hands numbered events to the streams of this process. One Redis subscription rings; what is handed out is read from
Postgres by number, so a lost message, or a Redis that was down or emptied, costs at most POLL_SECONDS."""

import json
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.domain.errors import Unavailable
from shared.domain.states import ENDED
from shared.messaging.pubsub import PubSub
from shared.persistence.database import Database
from webapp.queries import events

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
DOWN_SECONDS = 1.0
BATCH = 1000
MAILBOX_SIZE = 5000  # frames are shared by all mailboxes, so a full one costs little


@dataclass(frozen=True)
class Frame:
    """One event as it goes over the wire; `ends` when it is the simulation's end."""

    number: int | None
    data: bytes
    ends: bool = False


def frame(kind: str, data: Any, number: int | None = None, *, ends: bool = False) -> Frame:
    """A server-sent event."""
    head = "" if number is None else f"id: {number}\n"
    return Frame(number, f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode(), ends)


def frame_of(row: Any) -> Frame:
    """A numbered event as it is streamed."""
    ends = row.job is None and row.to_state in ENDED
    return frame("simulation" if row.job is None else "transition", events.wire(row), row.number, ends=ends)


class Mailbox:
    """What waits for one stream. Past MAILBOX_SIZE events it is cut: its client comes again with its last id."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._progress: dict[str, Frame] = {}
        self._closed = False

    def put(self, frames: Sequence[Frame], moved: Sequence[str]) -> None:
        """Add events, in order; progress of jobs that have `moved` since is stale."""
        with self._changed:
            self._frames.extend(frames)
            for job in moved:
                self._progress.pop(job, None)
            if len(self._frames) > MAILBOX_SIZE:
                self._frames.clear()
                self._closed = True
            self._changed.notify_all()

    def put_progress(self, job: str, latest: Frame) -> None:
        """Replace what is known of the job's progress."""
        with self._changed:
            self._progress[job] = latest
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, timeout_seconds: float) -> list[Frame] | None:
        """What has come, waiting for it up to the time; None once closed, whatever was left."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._progress or self._closed, timeout_seconds)
            if self._closed:
                return None
            found = [*self._frames, *self._progress.values()]
            self._frames.clear()
            self._progress.clear()
            return found


class Hub:
    """Lets streams join, and feeds them from a thread of its own, begun by the first."""

    def __init__(self, database: Database, pubsub: PubSub) -> None:
        self._database = database
        self._pubsub = pubsub
        self._lock = threading.Lock()
        self._mailboxes: dict[UUID, set[Mailbox]] = defaultdict(set)
        self._last: int | None = None  # the number handed out last; None while nobody listens
        self._thread: threading.Thread | None = None
        self.closing = threading.Event()

    def join(self, simulation: UUID) -> Mailbox:
        """A mailbox that gets every event of the simulation numbered from now on, and perhaps some from before."""
        mailbox = Mailbox()
        with self._lock:
            if self._last is None:
                with self._database.single() as tx:
                    self._last = events.last_number(tx)
            self._mailboxes[simulation].add(mailbox)
            if self.closing.is_set():
                mailbox.close()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
                self._thread.start()
        return mailbox

    def leave(self, simulation: UUID, mailbox: Mailbox) -> None:
        """The stream is over."""
        with self._lock:
            self._mailboxes[simulation].discard(mailbox)
            if not self._mailboxes[simulation]:
                del self._mailboxes[simulation]
            if not self._mailboxes:
                self._last = None

    @property
    def streams(self) -> int:
        """How many are open."""
        with self._lock:
            return sum(len(mailboxes) for mailboxes in self._mailboxes.values())

    def close(self) -> None:
        """End every stream of this process."""
        self.closing.set()
        with self._lock:
            for mailbox in self._everybody():
                mailbox.close()

    def _everybody(self) -> Iterator[Mailbox]:
        for mailboxes in self._mailboxes.values():
            yield from mailboxes

    def _run(self) -> None:
        while not self.closing.is_set():
            try:
                self._listen()
            except Unavailable as error:
                log.warning("events are polled for: %s", error)
                self._fetch_quietly()
            except Exception:  # the thread feeds every stream of this process
                if not self.closing.is_set():
                    log.exception("the hub begins anew")
            self.closing.wait(DOWN_SECONDS)

    def _listen(self) -> None:
        for message in self._pubsub.listen(POLL_SECONDS):
            if self.closing.is_set():
                return
            if message is None:
                self._fetch()
            elif self._last is not None:
                self._hear(message)

    def _hear(self, message: str) -> None:
        try:
            event = json.loads(message)
            number, simulation = event["number"], event["simulation"] and UUID(event["simulation"])
        except (ValueError, TypeError, KeyError):
            log.warning("not an event on our channel: %.200s", message)
            return
        if number is None and simulation is not None:
            self._pass_on(simulation, event)
        elif number is not None and self._last is not None and number > self._last:
            self._fetch()

    def _pass_on(self, simulation: UUID, event: dict[str, Any]) -> None:
        with self._lock:
            for mailbox in self._mailboxes.get(simulation, ()):
                mailbox.put_progress(str(event.get("job")), frame("progress", event))

    def _fetch_quietly(self) -> None:
        try:
            self._fetch()
        except Unavailable as error:
            log.warning("events could not be read: %s", error)

    def _fetch(self) -> None:
        """Hand out every event after the last one handed out."""
        while (last := self._last) is not None:
            with self._database.single() as tx:
                rows = events.after(tx, last, BATCH)
            self._hand_out(rows)
            if len(rows) < BATCH:
                return

    def _hand_out(self, rows: Sequence[Any]) -> None:
        if not rows:
            return
        by_simulation: dict[UUID, list[Any]] = defaultdict(list)
        for row in rows:
            by_simulation[row.simulation].append(row)
        with self._lock:
            for simulation in by_simulation.keys() & self._mailboxes.keys():
                frames = [frame_of(row) for row in by_simulation[simulation]]
                moved = [str(row.job) for row in by_simulation[simulation] if row.job]
                for mailbox in self._mailboxes[simulation]:
                    mailbox.put(frames, moved)
            if self._last is not None:
                self._last = max(self._last, rows[-1].number)
