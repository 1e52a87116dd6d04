"""One stream from each player that has viewers in this process, handed to all of them: fifty cost the player no more
than one. A viewer that cannot keep up misses frames and is told how many."""

import http.client
import logging
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from webapp.streams.mailboxes import frame
from webapp.streams.players import asked

log = logging.getLogger(__name__)

SILENCE_SECONDS = 45.0  # a player says something at least each 15
# Of a viewer; past that the oldest are dropped and counted.
WAITING_FRAMES, WAITING_BYTES = 500, 16 << 20


class Viewer:
    """What waits for one viewer: the newest frames, and how many older ones had to go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[bytes] = deque()
        self._dropped = self._waiting = 0
        self._closed = False

    def put(self, data: bytes) -> None:
        """One more; the oldest goes when there are too many."""
        with self._changed:
            self._waiting += len(data)
            while self._frames and (len(self._frames) >= WAITING_FRAMES or self._waiting > WAITING_BYTES):
                self._waiting -= len(self._frames.popleft())
                self._dropped += 1
            self._frames.append(data)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, timeout_seconds: float) -> bytes | None:
        """What has come, waiting for it up to the time (then nothing, b""); None when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_seconds)
            if self._closed and not self._frames:
                return None
            told = frame("dropped", {"count": self._dropped}).data if self._dropped else b""
            found = told + b"".join(self._frames)
            self._frames.clear()
            self._dropped = self._waiting = 0
            return found


class Show:
    """One stream from a player: who looks here, and what is latched, for those who come later."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.latched: dict[bytes, bytes] = {}

    def note(self, data: bytes) -> None:
        """Keep what the player marks as latched, until it says that another turn begins."""
        head = data.partition(b"\n")[0]
        if head == b": turn":
            self.latched.clear()
        elif head.startswith(b": latched "):
            self.latched[head] = data


class Relays:
    """One stream from each player that has viewers here, handed to all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shows: dict[UUID, Show] = {}

    def join(self, playback: UUID, address: dict[str, Any]) -> Viewer:
        """A viewer that gets what the player shows from now on, until it leaves or the player ends."""
        viewer = Viewer()
        with self._lock:
            show = self._shows.get(playback)
            begun = show is not None
            show = self._shows.setdefault(playback, Show())
            for data in show.latched.values():
                viewer.put(data)
            show.viewers.add(viewer)
        if not begun:
            threading.Thread(target=self._pass_on, args=(playback, show, address), name="relay", daemon=True).start()
        return viewer

    def leave(self, playback: UUID, viewer: Viewer) -> None:
        """It looks no more; the stream from the player ends with its last viewer."""
        with self._lock:
            if playback in self._shows:
                self._shows[playback].viewers.discard(viewer)

    def close(self) -> None:
        """End every stream."""
        with self._lock:
            everybody = [viewer for show in self._shows.values() for viewer in show.viewers]
        for viewer in everybody:
            viewer.close()

    def _pass_on(self, playback: UUID, show: Show, address: dict[str, Any]) -> None:
        try:
            with asked(address, "GET", "/frames", None, SILENCE_SECONDS) as answer:
                for data in _events(answer):
                    if not self._hand_out(playback, show, data):
                        return
        except (OSError, http.client.HTTPException) as error:
            log.info("the stream of playback %s ended: %s", playback, error)
        finally:
            with self._lock:
                if self._shows.get(playback) is show:  # else another stream has begun meanwhile
                    del self._shows[playback]
                left = list(show.viewers)
            for viewer in left:
                viewer.close()

    def _hand_out(self, playback: UUID, show: Show, data: bytes) -> bool:
        """To everybody; False when nobody is left, and then the next to join begins another stream."""
        with self._lock:
            show.note(data)
            present = list(show.viewers)
            if not present:
                del self._shows[playback]
        for viewer in present:
            viewer.put(data)
        return bool(present)


def _events(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Whole server-sent events, as they are."""
    lines: list[bytes] = []
    while line := answer.readline():
        lines.append(line)
        if line == b"\n":
            yield b"".join(lines)
            lines = []
