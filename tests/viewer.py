"""A viewer that speaks the Foxglove protocol, for tests."""

import json
import struct
from typing import Any

import websocket


def time_of(message: bytes) -> int:
    """When a message was recorded, in ns."""
    return int.from_bytes(message[5:13], "little")


class FoxgloveClient:
    """As much of the protocol as it takes to look (https://github.com/foxglove/ws-protocol)."""

    def __init__(self, url: str, **options: Any) -> None:
        self._socket = websocket.create_connection(url, timeout=30, subprotocols=["foxglove.sdk.v1"], **options)
        self.info: dict[str, Any] = {}
        self.channels: list[dict[str, Any]] = []
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        while not self.info or not self.channels:
            said = self._socket.recv()
            if not said:
                raise websocket.WebSocketConnectionClosedException("closed before it began")
            if isinstance(said, str):
                told = json.loads(said)
                if told["op"] == "serverInfo":
                    self.info = told
                elif told["op"] == "advertise":
                    self.channels += told["channels"]

    def subscribe(self, channel: int, number: int = 1) -> None:
        self._socket.send(json.dumps({"op": "subscribe", "subscriptions": [{"id": number, "channelId": channel}]}))

    def control(self, *, playing: bool, speed: float, seek: int) -> None:
        """A playback control request: opcode 3, command, speed, seek, the request's id."""
        self._socket.send_binary(struct.pack("<BBfBQI", 3, 0 if playing else 1, speed, 1, seek, 2) + b"r1")

    def message(self) -> bytes:
        """The next message of a channel (binary, opcode 1)."""
        while True:
            said = self._socket.recv()
            if isinstance(said, bytes) and said[0] == 1:
                return said

    def time(self) -> int:
        """The time of the next message, in ns."""
        return time_of(self.message())

    def told(self, op: str) -> dict[str, Any]:
        """The next of what is told as JSON under this name."""
        while True:
            said = self._socket.recv()
            if isinstance(said, str) and (found := json.loads(said))["op"] == op:
                return found  # type: ignore[no-any-return]

    def ending(self) -> tuple[int | None, str]:
        """Code and reason of the server's close, past all that comes before."""
        while True:
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code = int.from_bytes(frame.data[:2], "big") if frame.data else None
                return code, frame.data[2:].decode()

    def close(self) -> None:
        self._socket.close()
        self._socket.shutdown()  # which it leaves out when the server closed first
