"""WebSockets of Foxglove viewers, handed on to their player and back byte by byte. Used by the views of playbacks.

Web reads no more of what passes than where a frame ends, so that it can say why it ends a connection."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from webapp.streams.players import Player
from webapp.streams.websockets import PING, End, Frames

HEARTBEAT_SECONDS = 15.0
UNANSWERED = 5  # heartbeats; then the viewer is taken for gone
WRITE_SECONDS = 60.0
LINGER_SECONDS = 3.0  # for a viewer to answer that it has heard the end
BLOCK = 1 << 16

OVER = End(1001, "the player is gone; ask for the playback's state, and for another websocket_url if it runs")
RESTART = End(1012, "the server restarts; connect again")
NO_ANSWER = End(1001, "nothing was heard from this viewer for long")


class Tunnel:
    """One viewer's connection and the player's, joined. `check`: asked at each heartbeat, None or why it is to end."""

    def __init__(self, near: socket.socket, player: Player, check: Callable[[], End | None]) -> None:
        self._near, self._far, self._first = near, player.connection, player.first
        self._check = check
        self._frames = Frames()
        self._end: End | None = None
        self._unanswered = 0

    def end(self, why: End) -> None:
        """Have it end soon, and the viewer told why, if he reads."""
        self._end = self._end or why
        _cut(self._far)
        last = threading.Timer(LINGER_SECONDS, _cut, [self._near])  # writing to who does not read would wait
        last.daemon = True
        last.start()

    def run(self) -> None:
        """Until one of the two ends it, or it is ended. The connections are shut down then."""
        self._near.settimeout(WRITE_SECONDS)
        self._far.settimeout(HEARTBEAT_SECONDS)
        upward = threading.Thread(target=self._pass_up, name="viewer", daemon=True)
        upward.start()
        try:
            with suppress(OSError):  # the viewer has gone, or does not read
                self._pass_down()
                self._say_why()
                upward.join(LINGER_SECONDS)
        finally:
            _cut(self._near)
            _cut(self._far)
            upward.join()
            self._far.close()

    def _pass_up(self) -> None:
        """Also when the player has gone, for a connection that is closed over unread bytes loses what was said last."""
        with suppress(OSError):
            while data := self._hear():
                self._unanswered = 0
                self._tell_player(data)
        _cut(self._far)

    def _tell_player(self, data: bytes) -> None:
        try:
            self._far.sendall(data)
        except OSError:  # it has gone, or reads nothing; after a piece that is lost nothing more may follow
            _cut(self._far)

    def _hear(self) -> bytes:
        while True:
            try:
                return self._near.recv(BLOCK)
            except TimeoutError:  # that of writing; heartbeats find out who has gone
                continue

    def _pass_down(self) -> None:
        self._near.sendall(self._frames.feed(self._first))
        beat = time.monotonic()
        while True:
            try:
                data = self._far.recv(BLOCK)
            except TimeoutError:
                data = None
            except OSError:
                data = b""
            if data:
                self._near.sendall(self._frames.feed(data))
                time.sleep(0)  # a fast player and a fast viewer would leave nobody else a turn
            if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                self._beat()
            if data == b"" or self._end:
                return

    def _beat(self) -> None:
        self._end = self._end or self._check()
        if self._unanswered >= UNANSWERED:
            self._end = self._end or NO_ANSWER
        elif self._frames.whole:
            self._unanswered += 1
            self._near.sendall(PING)

    def _say_why(self) -> None:
        if self._frames.whole and not self._frames.closed:
            self._near.sendall((self._end or OVER).frame)
        self._near.shutdown(socket.SHUT_WR)


def _cut(connection: socket.socket) -> None:
    """End it, by a second handle, for on its own gevent would wake who waits with an error that is logged."""
    with suppress(OSError), connection.dup() as same:
        same.shutdown(socket.SHUT_RDWR)


class Tunnels:
    """Those that are open in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Tunnel] = set()
        self._closing = False

    def run(self, tunnel: Tunnel) -> None:
        """Let it run to its end."""
        with self._lock:
            self._open.add(tunnel)
            closing = self._closing
        if closing:
            tunnel.end(RESTART)
        try:
            tunnel.run()
        finally:
            with self._lock:
                self._open.discard(tunnel)

    def close(self) -> None:
        """End them all: this process stops."""
        with self._lock:
            self._closing = True
            left = list(self._open)
        for tunnel in left:
            tunnel.end(RESTART)
