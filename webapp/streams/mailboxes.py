"""What goes to one stream: frames, and the mailbox they wait in. The hub fills it, the streams of the API empty it."""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from shared.domain.states import ENDED
from webapp.queries import events

MAILBOX_SIZE = 5000  # frames are shared by all mailboxes, so a full one costs little


@dataclass(frozen=True)
class Frame:
    """One event as it goes over the wire; without a number it is progress of `job`. `ends`: the simulation's end."""

    number: int | None
    data: bytes
    ends: bool = False
    job: str | None = None


@dataclass(frozen=True)
class Told:
    """A frame, whose it is and who may see it: everybody, or if it is private the owner."""

    simulation: UUID | None
    owner: UUID | None
    private: bool
    frame: Frame


def frame(kind: str, data: Any, number: int | None = None, *, ends: bool = False, job: str | None = None) -> Frame:
    """A server-sent event."""
    head = "" if number is None else f"id: {number}\n"
    return Frame(number, f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode(), ends, job)


def frame_of(row: Any) -> Frame:
    """A numbered event as it is streamed."""
    ends = row.job is None and row.to_state in ENDED
    event = events.wire(row)
    return frame("simulation" if row.job is None else "transition", event, row.number, ends=ends, job=event["job"])


class Mailbox:
    """What waits for one stream. Past MAILBOX_SIZE events it is cut: its client comes again with its last id."""

    def __init__(self, simulation: UUID | None, user: UUID, viewer: UUID | None, cut: Callable[[], object]) -> None:
        self.simulation = simulation
        self.user = user
        self.viewer = viewer
        self._cut = cut
        self._lock = threading.Lock()
        # Free while there is something to take. A condition would do, at twice what it costs to wake a stream.
        self._empty = threading.Lock()
        self._empty.acquire()
        self._frames: deque[Frame] = deque()
        self._progress: dict[str | None, Frame] = {}
        self._closed = False

    def put(self, frames: Sequence[Frame]) -> None:
        """Add events, in order, and progress: the last of each job, until the job moves. Nothing once closed."""
        with self._lock:
            if self._closed:
                return
            for each in frames:
                if each.number is None:
                    self._progress[each.job] = each
                else:
                    self._frames.append(each)
                    self._progress.pop(each.job, None)
            full = len(self._frames) > MAILBOX_SIZE
            if full:
                self._end()
            self._wake()
        if full:
            self._cut()

    def close(self) -> None:
        """Nothing more will come."""
        with self._lock:
            self._end()
            self._wake()

    def _end(self) -> None:
        self._closed = True
        self._frames.clear()
        self._progress.clear()

    def _wake(self) -> None:
        if self._empty.locked():
            self._empty.release()

    def take(self, timeout_seconds: float) -> list[Frame] | None:
        """What has come, waiting for it up to the time; None once closed, whatever was left. For one taker."""
        self._empty.acquire(timeout=timeout_seconds)
        with self._lock:
            if self._closed:
                return None
            self._empty.acquire(blocking=False)  # more may have come since
            found = [*self._frames, *self._progress.values()]
            self._frames.clear()
            self._progress.clear()
            return found


def share(told: Sequence[Told]) -> Callable[[Mailbox], Sequence[Frame]]:
    """Tells which frames of these each mailbox gets, in order."""
    by_simulation: dict[UUID | None, list[Frame]] = defaultdict(list)
    for each in told:
        by_simulation[each.simulation].append(each.frame)
    owners = {each.owner for each in told if each.private}

    @cache
    def seen_by(viewer: UUID | None) -> list[Frame]:
        return [each.frame for each in told if not each.private or (viewer is not None and each.owner == viewer)]

    def of(mailbox: Mailbox) -> Sequence[Frame]:
        if mailbox.simulation is not None:
            return by_simulation[mailbox.simulation]
        if mailbox.viewer is None:
            return [each.frame for each in told]
        return seen_by(mailbox.viewer if mailbox.viewer in owners else None)

    return of
