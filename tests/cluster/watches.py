"""Watches: what a client has asked to hear of, and what it has not been sent yet."""

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster.refusals import KINDS
from tests.cluster.selectors import Test

if TYPE_CHECKING:
    from tests.cluster.store import Version


@dataclass(frozen=True)
class Change:
    """One step of one object; of a removed one `new` is None."""

    revision: int
    old: "Version | None"
    new: "Version | None"

    @property
    def version(self) -> "Version":
        """As it is now, or was in the end."""
        return self.new or self.before

    @property
    def before(self) -> "Version":
        """As it was until then, numbered with the change."""
        assert self.old is not None
        return self.old.numbered(self.revision)


@dataclass(frozen=True)
class Selection:
    """The objects that a list or a watch is about."""

    resource: str
    namespace: str | None
    labels: Test
    fields: Test
    is_narrow: bool = False  # by labels or fields

    def takes(self, version: "Version | None") -> bool:
        return (version is not None and version.resource == self.resource
                and self.namespace in (None, version.key[1])
                and self.labels(version.body) and self.fields(version.body))

    def event(self, change: Change) -> bytes | None:
        """The line that tells of a change, None when it is not about what was selected: one that is selected no longer
        looks deleted, as it was before the change."""
        was, now = self.takes(change.old), self.takes(change.new)
        if now and change.new is not None:
            return _line("MODIFIED" if was else "ADDED", change.new.document)
        return _line("DELETED", change.before.document) if was else None


def _line(kind: str, document: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), document)


def bookmark(resource: str, revision: int) -> bytes:
    document = f'{{"kind":"{KINDS[resource]}","apiVersion":"v1","metadata":{{"resourceVersion":"{revision}"}}}}'
    return _line("BOOKMARK", document.encode())


class Watch:
    """What one client has still to be sent. Closes when more than `limit` events wait for it."""

    def __init__(self, selection: Selection, limit: int) -> None:
        self.selection = selection
        self.seen = 0  # every change up to this revision was offered
        self._limit = limit
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._something = threading.Condition()
        self._closed = False

    def offer(self, change: Change, due: float) -> None:
        if change.revision <= self.seen:
            return
        self.seen = change.revision
        line = self.selection.event(change)
        if line is None:
            return
        with self._something:
            self._waiting.append((due, line))
            self._closed = self._closed or len(self._waiting) > self._limit
            self._something.notify()

    def offer_all(self, changes: Iterable[Change]) -> None:
        """What a client resumes from does not count as its slowness."""
        lines = (self.selection.event(change) for change in changes)
        self._waiting.extend((0.0, line) for line in lines if line is not None)
        self._limit += len(self._waiting)

    def close(self) -> None:
        with self._something:
            self._closed = True
            self._something.notify()

    def take(self, seconds: float) -> list[bytes] | None:
        """The lines that are due, at the latest after so long, then perhaps none; None when the watch is closed."""
        deadline = time.monotonic() + seconds
        with self._something:
            while not self._closed:
                now = time.monotonic()
                if lines := self._due(now):
                    return lines
                if now >= deadline:
                    return []
                self._something.wait((min(deadline, self._waiting[0][0]) if self._waiting else deadline) - now)
        return None

    @property
    def told(self) -> int | None:
        """The revision up to which the client was told all, None while something waits for it."""
        with self._something:
            return None if self._waiting else self.seen

    def _due(self, now: float) -> list[bytes]:
        lines = []
        while self._waiting and self._waiting[0][0] <= now:
            lines.append(self._waiting.popleft()[1])
        return lines
