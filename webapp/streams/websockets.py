"""As much of the WebSocket protocol (RFC 6455) as it takes to hand one on: its handshake, and where its frames end."""

import base64
import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from flask import Response

HELD_BYTES = 1 << 16  # frames up to here are handed on whole
PING = b"\x89\x00"
CLOSE, BARE = 8, 2  # its opcode, and its size without a reason
HANDSHAKE = ("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(key: str) -> str:
    """What a server answers to this Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest()).decode()


class Upgraded(Response):
    """101 Switching Protocols: the server sends its head, then `talk` has the connection to itself, to its end."""

    def __init__(self, talk: Callable[[], None], headers: Mapping[str, str]) -> None:
        super().__init__(status=101, headers={"Connection": "Upgrade", "Upgrade": "websocket", **headers})
        self._talk = talk

    def get_app_iter(self, environ: Any) -> Iterator[bytes]:
        """See Response, which knows no body of such an answer."""
        yield b""
        self._talk()


class End(NamedTuple):
    """Why a connection ends: a status code of WebSocket's, and the reason in words, at most 123 bytes."""

    code: int
    reason: str

    @property
    def frame(self) -> bytes:
        """As it is told the viewer."""
        payload = struct.pack("!H", self.code) + self.reason.encode()
        return bytes([0x80 | CLOSE, len(payload)]) + payload


class Frames:
    """Where frames end in what a server says (RFC 6455, 5.2). Small ones are handed on whole, larger ones in pieces; a
    close without a reason is not handed on."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0  # bytes of a large frame that are still to come
        self.closed = False  # whether the server has said why it closes

    @property
    def whole(self) -> bool:
        """Whether what was handed on ends where a frame does."""
        return not self._left

    def feed(self, data: bytes) -> bytes:
        """What is to be handed on, now that this has come."""
        data = self._held + data
        end = min(self._left, len(data))
        self._left -= end
        while (size := _size(data, end)) is not None:
            closes = data[end] & 0x0F == CLOSE
            if closes and size == BARE:  # nothing comes after it, and the reason is ours to say
                data = data[:end]
                break
            end += size
            if end > len(data):
                if size <= HELD_BYTES:
                    end -= size
                else:
                    self._left, end = end - len(data), len(data)
                break
            self.closed = self.closed or closes
        self._held = data[end:]
        return data[:end]


def _size(data: bytes, start: int) -> int | None:
    """Bytes of the frame that begins there, its head included; None when too little of it is here."""
    if len(data) < start + 2:
        return None
    length = data[start + 1] & 0x7F
    more = {126: 2, 127: 8}.get(length, 0)
    if len(data) < start + 2 + more:
        return None
    return 2 + more + (int.from_bytes(data[start + 2:start + 2 + more], "big") if more else length)
