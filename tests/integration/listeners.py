"""Many clients of event streams in one thread, which cut their connections when chance says so and come again with the
last id they have."""

import json
import random
import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

STAYS_SECONDS = (0.2, 6.0)
PAUSES_SECONDS = (0.0, 0.3)
CUTS_BEFORE_A_WORD = 3  # more, and on a slow machine a client would be cut for ever before it is told anything


@dataclass
class Listener:
    """One client: which stream, what it was told so far, and when it next comes or goes."""

    path: str
    due: float = 0.0
    last: str | None = None
    resets: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    ended: bool = False
    cuts: int = 0
    refused: list[bytes] = field(default_factory=list)
    connection: socket.socket | None = None
    text: bytes = b""

    def take(self, data: bytes) -> None:
        """Whole events count; one that was cut in its middle was not told."""
        *blocks, self.text = (self.text + data).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line and line[0] != ":")
            if "id" not in fields:
                continue
            self.last = fields["id"]
            if fields["event"] == "reset":
                self.resets.append(json.loads(fields["data"])["number"])
            elif fields["event"] == "end":
                self.ended = True
            else:
                self.seen.append(int(fields["id"]))


class Listeners:
    """Runs them within a block; `calm` stops the cutting."""

    def __init__(self, url: str, token: str, paths: list[str], seed: int) -> None:
        self.all = [Listener(path) for path in paths]
        self.calm = False
        self._address = urlsplit(url)
        self._token = token
        self._chance = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Listeners":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        for each in self.all:
            self._leave(each)
        self._selector.close()

    def _run(self) -> None:
        while not self._done.is_set():
            for key, _ in self._selector.select(0.02):
                self._read(key.data)
            now = time.monotonic()
            for each in self.all:
                if each.connection is None and each.due <= now and not each.ended:
                    self._come(each)
                elif each.connection is not None and each.due <= now and not self.calm and (
                        each.resets or each.cuts < CUTS_BEFORE_A_WORD):
                    each.cuts += 1
                    self._leave(each)

    def _come(self, each: Listener) -> None:
        lines = [f"GET /api/v1{each.path} HTTP/1.0", f"Host: {self._address.netloc}", f"Authorization: {self._token}"]
        if each.last is not None:
            lines.append(f"Last-Event-ID: {each.last}")
        each.text, each.due = b"", time.monotonic() + self._chance.uniform(*STAYS_SECONDS)
        try:
            each.connection = socket.create_connection((self._address.hostname, self._address.port), timeout=30)
            each.connection.sendall("\r\n".join([*lines, "", ""]).encode())
        except OSError:
            self._leave(each)
        else:
            each.connection.setblocking(False)
            self._selector.register(each.connection, selectors.EVENT_READ, each)

    def _read(self, each: Listener) -> None:
        if each.connection is None:
            return
        try:
            data = each.connection.recv(1 << 16)
        except OSError:
            data = b""
        if data.startswith(b"HTTP/1.0 ") and not data.startswith(b"HTTP/1.0 200"):
            each.refused.append(data)
            data = b""
        if data:
            each.take(data)
        else:
            self._leave(each)

    def _leave(self, each: Listener) -> None:
        each.due = time.monotonic() + self._chance.uniform(*PAUSES_SECONDS)
        if each.connection is not None:
            with suppress(KeyError):  # it was never let in
                self._selector.unregister(each.connection)
            each.connection.close()
            each.connection = None
