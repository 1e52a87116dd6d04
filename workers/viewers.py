"""The connection of one viewer that speaks the Foxglove protocol, as the desk serves it: the SDK's own server listens
on the loopback alone. Whole frames pass here, and a viewer that is too slow misses messages: the SDK would let a
thousand wait for each, and some have megabytes."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import BinaryIO

WAITING_BYTES = 16 << 20  # of a viewer
CONNECT_SECONDS = 5.0
BLOCK = 1 << 16
LARGEST_HEAD = 1 << 14
HANDSHAKE = ("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol")
MESSAGE = b"\x82", 1  # a whole binary frame, and the opcode of a recorded message in it


class Waiting:
    """Frames that wait for one viewer. When they are too many bytes the oldest messages go; all else stays."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[tuple[bytes, bool]] = deque()
        self._bytes = 0
        self._closed = False

    def put(self, frame: bytes, *, droppable: bool) -> None:
        """One more."""
        with self._changed:
            self._frames.append((frame, droppable))
            self._bytes += len(frame)
            if self._bytes > WAITING_BYTES:
                self._make_room()
            self._changed.notify_all()

    def _make_room(self) -> None:
        kept = []
        while self._bytes > WAITING_BYTES and len(self._frames) > 1:  # one always fits
            frame, droppable = self._frames.popleft()
            if droppable:
                self._bytes -= len(frame)
            else:
                kept.append((frame, droppable))
        self._frames.extendleft(reversed(kept))

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> bytes | None:
        """The oldest, as soon as there is one; None when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed)
            if not self._frames:
                return None
            frame, _ = self._frames.popleft()
            self._bytes -= len(frame)
            return frame


def join(port: int, headers: Mapping[str, str], near: socket.socket, said: Callable[[], bytes]) -> None:
    """Let the viewer on `near` speak with the server on this port of the loopback until one of them ends it. `headers`
    are those of its request, `said` gives the next bytes that it says."""
    with socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS) as far:
        far.settimeout(None)
        told = "".join(f"{name}: {headers[name]}\r\n" for name in HANDSHAKE if name in headers)
        far.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    f"{told}\r\n".encode("latin-1"))
        waiting = Waiting()
        threads = [threading.Thread(target=_read, args=(far, waiting), daemon=True),
                   threading.Thread(target=_pass_on, args=(said, far), daemon=True)]
        for thread in threads:
            thread.start()
        try:
            while (frame := waiting.take()) is not None:
                near.sendall(frame)
        finally:
            for each in (far, near):  # wakes the two threads
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def _read(far: socket.socket, waiting: Waiting) -> None:
    """The server's answer to the handshake, and then its frames."""
    with suppress(OSError, EOFError), far.makefile("rb") as source:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = source.readline(LARGEST_HEAD)
            if not line:
                raise EOFError
            head += line
        waiting.put(head, droppable=False)
        while True:
            frame = _frame(source)
            waiting.put(frame, droppable=_is_message(frame))
    waiting.close()


def _frame(source: BinaryIO) -> bytes:
    """The next frame, whole (RFC 6455, 5.2; a server's are not masked). Raises EOFError."""
    head = _exactly(source, 2)
    length = head[1] & 0x7F
    if length >= 126:
        more = _exactly(source, 2 if length == 126 else 8)
        head, length = head + more, int.from_bytes(more, "big")
    return head + _exactly(source, length)


def _exactly(source: BinaryIO, size: int) -> bytes:
    found = source.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _is_message(frame: bytes) -> bool:
    payload = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    return frame[:1] == MESSAGE[0] and len(frame) > payload and frame[payload] == MESSAGE[1]


def _pass_on(said: Callable[[], bytes], far: socket.socket) -> None:
    with suppress(OSError, ValueError):  # closed
        while data := said():
            far.sendall(data)
    with suppress(OSError):
        far.shutdown(socket.SHUT_RDWR)
