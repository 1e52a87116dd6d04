"""Hands numbered events to the streams of this process. One Redis subscription rings; what is handed out is read from
Postgres by number, so a lost message, or a Redis that was down or emptied, costs at most POLL_SECONDS."""

import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from shared.domain.errors import QuotaExceeded, Unavailable
from shared.messaging.pubsub import PubSub
from shared.persistence.database import Database
from webapp.queries import events
from webapp.streams.mailboxes import Mailbox, Told, frame, frame_of, share

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
DOWN_SECONDS = 1.0
BATCH = 1000
MAX_STREAMS = 5_000  # of this process
MAX_STREAMS_OF_USER = 2_000
MAX_KNOWN = 10_000
# Thousands of streams woken at once would hold up every request. They are woken a few at a time, with pauses in which
# requests are answered, and after a round all rest: what happens meanwhile is written to each in one piece.
WOKEN_AT_ONCE = 10
PAUSE_SECONDS = 0.001
REST_SECONDS = 0.0001  # for each stream


class Hub:
    """Lets streams join, and feeds them from a thread of its own, begun by the first."""

    def __init__(self, database: Database, pubsub: PubSub) -> None:
        self._database = database
        self._pubsub = pubsub
        self._lock = threading.Lock()
        self._mailboxes: dict[UUID | None, set[Mailbox]] = defaultdict(set)  # by simulation; None: of everything
        self._users: Counter[UUID] = Counter()
        self._known: dict[UUID, tuple[UUID | None, bool]] = {}  # owner and privacy of what progress is of
        self._last: int | None = None  # the number handed out last; None while nobody listens
        self._thread: threading.Thread | None = None
        self.streams = 0  # open at this moment
        self.closing = threading.Event()

    def join(self, simulation: UUID | None, user: UUID, viewer: UUID | None,
             cut: Callable[[], object] = lambda: None) -> Mailbox:
        """A mailbox that gets every event of the simulation numbered from now on, and perhaps some from before; without
        a simulation all that the viewer may see (None sees all). `cut` is called should it run over. Unavailable and
        QuotaExceeded when this process or this user has too many."""
        mailbox = Mailbox(simulation, user, viewer, cut)
        if not self._enter(mailbox):
            with self._database.single() as tx:
                number = events.last_number(tx)
            self._enter(mailbox, number)
        return mailbox

    def _enter(self, mailbox: Mailbox, number: int | None = None) -> bool:
        """Let it in; whether it is, for the first has to bring a number from which on events are handed out. One that
        has been overtaken meanwhile is as good: what was numbered before is told by the stream's opening."""
        with self._lock:
            self._refuse_too_many(mailbox.user)
            if self._last is None:
                self._last = number
            if self._last is None:
                return False
            self._mailboxes[mailbox.simulation].add(mailbox)
            self._users[mailbox.user] += 1
            self.streams += 1
            if self.closing.is_set():
                mailbox.close()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
                self._thread.start()
            return True

    def _refuse_too_many(self, user: UUID) -> None:
        if self.streams >= MAX_STREAMS:
            raise Unavailable(f"{self.streams} streams are open, as many as there may be", code="too_many_streams",
                              remedy="come again later")
        if self._users[user] >= MAX_STREAMS_OF_USER:
            raise QuotaExceeded(f"you have {MAX_STREAMS_OF_USER} streams open, as many as one may",
                                code="too_many_streams", remedy="close some; /events alone tells of everything")

    def leave(self, mailbox: Mailbox) -> None:
        """The stream is over."""
        with self._lock:
            if mailbox not in self._mailboxes.get(mailbox.simulation, ()):
                return
            self._mailboxes[mailbox.simulation].remove(mailbox)
            if not self._mailboxes[mailbox.simulation]:
                del self._mailboxes[mailbox.simulation]
            self._users -= Counter([mailbox.user])  # forgets who has none left
            self.streams -= 1
            if not self._mailboxes:
                self._last = None

    def close(self) -> None:
        """End every stream of this process."""
        self.closing.set()
        self._end_all()

    def _end_all(self) -> None:
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
                    self._end_all()  # nobody knows what they were given; their clients do, and come again
            self.closing.wait(DOWN_SECONDS)

    def _listen(self) -> None:
        for messages in self._pubsub.listen(POLL_SECONDS):
            if self.closing.is_set():
                return
            if self._last is not None:
                self._hear(messages)

    def _hear(self, messages: Sequence[str]) -> None:
        """Look for events when told of one, and when there was silence; pass progress on."""
        due, progress = not messages, {}
        for event in filter(None, map(_read, messages)):
            if event["number"] is None:
                progress[event["job"]] = event
            else:
                due = due or self._last is None or event["number"] > self._last
        told = [each for event in progress.values() if (each := self._progress(event))]
        if due:
            self._fetch(told)
        else:
            self._deliver(told)

    def _progress(self, event: dict[str, Any]) -> Told | None:
        """What is told of a job's progress, if anybody listens."""
        simulation = event["simulation"] and UUID(event["simulation"])
        if not self._is_wanted(simulation):
            return None
        owner, private = self._access(simulation, UUID(event["job"])) if None in self._mailboxes else (None, True)
        return Told(simulation, owner, private, frame("progress", event, job=event["job"]))

    def _access(self, simulation: UUID | None, job: UUID) -> tuple[UUID | None, bool]:
        """The owner of what the job belongs to, and whether it is private, neither of which ever changes."""
        if (key := simulation or job) not in self._known:
            with self._database.single() as tx:
                row = events.access(tx, simulation, job)
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = (row.holder, row.private) if row else (None, True)
        return self._known[key]

    def _is_wanted(self, simulation: UUID | None) -> bool:
        return None in self._mailboxes or simulation in self._mailboxes

    def _fetch_quietly(self) -> None:
        try:
            self._fetch([])
        except Unavailable as error:
            log.warning("events could not be read: %s", error)

    def _fetch(self, told: list[Told]) -> None:
        """Hand out these, and every event after the last one handed out."""
        while (last := self._last) is not None:
            with self._database.single() as tx:
                rows = events.after(tx, last, BATCH)
            told += [Told(row.simulation, row.holder, row.private, frame_of(row))
                     for row in rows if self._is_wanted(row.simulation)]
            self._deliver(told, rows[-1].number if rows else last)
            told = []
            if len(rows) < BATCH:
                return

    def _deliver(self, told: Sequence[Told], number: int = 0) -> None:
        """Put what is told into the mailboxes it is for; with it everything up to `number` has been handed out."""
        share_of = share(told)
        with self._lock:
            if self._last is not None:
                self._last = max(self._last, number)
            due = [(mailbox, frames) for mailbox in self._listeners(told) if (frames := share_of(mailbox))]
        for place, (mailbox, frames) in enumerate(due, 1):
            mailbox.put(frames)
            if place % WOKEN_AT_ONCE == 0:
                time.sleep(PAUSE_SECONDS)
        if due:
            self.closing.wait(len(due) * REST_SECONDS)

    def _listeners(self, told: Sequence[Told]) -> Iterator[Mailbox]:
        for simulation in {each.simulation for each in told} | {None}:
            yield from self._mailboxes.get(simulation, ())


def _read(message: str) -> dict[str, Any] | None:
    """The event, if the message is one."""
    try:
        event = json.loads(message)
        number, simulation, job = event["number"], event["simulation"], event["job"]
        if number is None:
            UUID(job)
        if simulation is not None:
            UUID(simulation)
        if isinstance(number, int | None):
            return dict(event)
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    log.warning("not an event on our channel: %.200s", message)
    return None
