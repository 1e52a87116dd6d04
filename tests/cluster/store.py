"""The objects of the cluster, each change numbered, with as much of the past as the watch window holds. The API server
and the nodes share one."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.cluster.refusals import KINDS, expired
from tests.cluster.watches import Change, Selection, Watch

Body = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """An object as it was from one revision on. The body is never changed: who wants another one makes a copy."""

    resource: str
    body: Body

    @property
    def key(self) -> tuple[str, str, str]:
        metadata = self.body["metadata"]
        return self.resource, metadata.get("namespace", ""), metadata["name"]

    @property
    def revision(self) -> int:
        return int(self.body["metadata"]["resourceVersion"])

    def numbered(self, revision: int) -> "Version":
        """The same with another resourceVersion."""
        metadata = self.body["metadata"] | {"resourceVersion": str(revision)}
        return Version(self.resource, self.body | {"metadata": metadata})

    @cached_property
    def item(self) -> bytes:
        """As a part of a list: Kubernetes leaves out kind and apiVersion there."""
        return json.dumps(self.body, separators=(",", ":")).encode()

    @cached_property
    def document(self) -> bytes:
        return f'{{"kind":"{KINDS[self.resource]}","apiVersion":"v1",'.encode() + self.item[1:]


class Store:
    """Thread-safe. `subscribe` is for the cluster's own parts: they hear of every change, whatever befalls watches."""

    def __init__(self, window: int = 1000, watch_buffer: int = 1000) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.revision = 0
        self._objects: dict[tuple[str, str, str], Version] = {}
        self._history: deque[Change] = deque()
        self._window, self._watch_buffer = window, watch_buffer
        self._forgotten = 0  # the newest revision that has left the history
        self._watches: set[Watch] = set()
        self._subscribers: list[Callable[[Change], None]] = []
        self._held: list[Change] | None = None
        self._losing = False
        self._delay_seconds = 0.0

    def get(self, resource: str, namespace: str, name: str) -> Version | None:
        return self._objects.get((resource, namespace, name))

    def objects(self, resource: str, namespace: str | None = None) -> list[Version]:
        """In the order of the keys; None is all namespaces."""
        with self.lock:
            return [version for key, version in sorted(self._objects.items(), key=lambda pair: pair[0])
                    if key[0] == resource and namespace in (None, key[1])]

    def put(self, resource: str, body: Body) -> Version:
        """Make or replace the object of this name. The body gets its resourceVersion and is the store's from now on."""
        with self.lock:
            self.revision += 1
            body["metadata"]["resourceVersion"] = str(self.revision)
            version = Version(resource, body)
            old = self._objects.get(version.key)
            self._objects[version.key] = version
            self._publish(Change(self.revision, old, version))
            return version

    def remove(self, version: Version) -> Version:
        """Its last state, with the revision of its end."""
        with self.lock:
            self.revision += 1
            del self._objects[version.key]
            change = Change(self.revision, version, None)
            self._publish(change)
            return change.before

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """Call it with each change from now on; it must return at once."""
        with self.lock:
            self._subscribers.append(listener)

    @contextmanager
    def watch(self, selection: Selection, since: int | None) -> Iterator[Watch]:
        """All that happens after revision `since`; None: first what is there now. 410 when the past is forgotten."""
        watch = Watch(selection, self._watch_buffer)
        with self.lock:
            watch.offer_all(self._past(selection.resource, since))
            watch.seen = max(self.revision, since or 0)
            self._watches.add(watch)
        try:
            yield watch
        finally:
            with self.lock:
                self._watches.discard(watch)

    def _past(self, resource: str, since: int | None) -> list[Change]:
        if since is None:
            return [Change(version.revision, None, version) for version in self.objects(resource)]
        if since < self._forgotten:
            raise expired(f"too old resource version: {since} ({self._forgotten + 1})")
        return [change for change in self._history if change.revision > since]

    def _publish(self, change: Change) -> None:
        self._history.append(change)
        self._trim(self._window)
        for subscriber in self._subscribers:
            subscriber(change)
        if self._held is not None:
            self._held.append(change)
        elif not self._losing:
            self._deliver(change)
        self.changed.notify_all()

    def _deliver(self, change: Change) -> None:
        due = time.monotonic() + self._delay_seconds
        for watch in self._watches:
            watch.offer(change, due)

    def _trim(self, length: int) -> None:
        while len(self._history) > length:
            self._forgotten = self._history.popleft().revision

    # What may befall watches; the faults of the server are made of these.

    def forget(self, window: int | None = None) -> None:
        """Forget the past, so that no older revision can be resumed from; keep at most `window` changes from now on."""
        with self.lock:
            self._trim(0)
            self._forgotten = self.revision
            self._window = self._window if window is None else window

    def close_watches(self) -> None:
        with self.lock:
            for watch in self._watches:
                watch.close()

    def delay(self, seconds: float) -> None:
        """Each event from now on reaches its watches so much later."""
        with self.lock:
            self._delay_seconds = seconds

    def lose(self, losing: bool) -> None:
        """While losing, open watches never hear of what happens; a new watch from an older revision does."""
        with self.lock:
            self._losing = losing

    def hold(self) -> None:
        """Keep events back until release()."""
        with self.lock:
            self._held = []

    def release(self) -> None:
        with self.lock:
            held, self._held = self._held or [], None
            for change in held:
                self._deliver(change)
