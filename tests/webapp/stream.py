"""Reads server-sent events, as a browser does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.waiting import until


@dataclass(frozen=True)
class Event:
    id: int | None
    kind: str
    data: Any


class Events:
    """What came over one stream so far."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.all: list[Event] = []
        self.comments = 0
        self._text = ""
        self._chunks = chunks
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for chunk in self._chunks:
            self._text += chunk.decode()
            *whole, self._text = self._text.split("\n\n")
            for block in whole:
                self._take(block)

    def _take(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        self.comments += block.startswith(":")
        if "event" in fields:
            number = int(fields["id"]) if "id" in fields else None
            self.all.append(Event(number, fields["event"], json.loads(fields["data"])))

    def wait(self, kind: str, count: int = 1) -> Event:
        """The so-manieth event of this kind."""
        return until(lambda: (found := self.of(kind)) and len(found) >= count and found[count - 1])  # type: ignore[return-value]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.all if event.kind == kind]

    def numbers(self) -> list[int]:
        """The ids of what moved, in the order they came."""
        return [event.id for event in self.all if event.id is not None and event.kind in ("transition", "simulation")]

    def ended(self) -> bool:
        self.thread.join(30)
        return not self.thread.is_alive()
