"""One stream from each player that has viewers in this process, handed to all of them: fifty cost the player no more
than one. A viewer that cannot keep up misses frames and is told how many."""

import http.client
import logging
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from webapp.hub import frame
from webapp.players import asked

log = logging.getLogger(__name__)

SILENCE_SECONDS = 45.0  # a player says something at least each 15
WAITING_FRAMES = 500  # of a viewer; past that the oldest is dropped and counted


class Viewer:
    """What waits for one viewer: the newest frames, and how many older ones had to go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[bytes] = deque()
        self._dropped = 0
        self._closed = False

    def put(self, data: bytes) -> None:
        """One more; the oldest goes when there are too many."""
        with self._changed:
            if len(self._frames) >= WAITING_FRAMES:
                self._frames.popleft()
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
            self._dropped = 0
            return found


class Relays:
    """One stream from each player that has viewers here, handed to all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._viewers: dict[UUID, set[Viewer]] = {}

    def join(self, playback: UUID, address: dict[str, Any]) -> Viewer:
        """A viewer that gets what the player shows from now on, until it leaves or the player ends."""
        viewer = Viewer()
        with self._lock:
            begun = playback in self._viewers
            viewers = self._viewers.setdefault(playback, set())
            viewers.add(viewer)
        if not begun:
            threading.Thread(target=self._pass_on, args=(playback, viewers, address), name="relay", daemon=True).start()
        return viewer

    def leave(self, playback: UUID, viewer: Viewer) -> None:
        """It looks no more; the stream from the player ends with its last viewer."""
        with self._lock:
            self._viewers.get(playback, set()).discard(viewer)

    def close(self) -> None:
        """End every stream."""
        with self._lock:
            everybody = [viewer for viewers in self._viewers.values() for viewer in viewers]
        for viewer in everybody:
            viewer.close()

    def _pass_on(self, playback: UUID, viewers: set[Viewer], address: dict[str, Any]) -> None:
        try:
            with asked(address, "GET", "/frames", None, SILENCE_SECONDS) as answer:
                for data in _events(answer):
                    if not self._hand_out(playback, viewers, data):
                        return
        except (OSError, http.client.HTTPException) as error:
            log.info("the stream of playback %s ended: %s", playback, error)
        finally:
            with self._lock:
                if self._viewers.get(playback) is viewers:  # else another stream has begun meanwhile
                    del self._viewers[playback]
                left = list(viewers)
            for viewer in left:
                viewer.close()

    def _hand_out(self, playback: UUID, viewers: set[Viewer], data: bytes) -> bool:
        """To everybody; False when nobody is left, and then the next to join begins another stream."""
        with self._lock:
            present = list(viewers)
            if not present:
                del self._viewers[playback]
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
