"""What the watcher sees of all pods: a list kept up to date by a watch, in a thread of its own. Used by the runtime.

Only hints rest on it, and looks that are repeated: where a pod is missing from it, the API server is asked.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from shared.domain.errors import Unavailable
from workers.runtimes.base import Name
from workers.runtimes.kubernetes.cluster import Cluster, Expired
from workers.runtimes.kubernetes.pods import Body

log = logging.getLogger(__name__)

RELIST_SECONDS = 60.0  # so that an event that never came is made up for
FROZEN_SECONDS = 180.0
PAUSE_SECONDS = 0.5


class FrozenView(Exception):
    """What is seen is too old to act on; this process had better end and be started anew."""


class View:
    """The pods that a selector picks, by name. Started by the first call of `changed`."""

    def __init__(self, cluster: Cluster, selector: str, clock: Callable[[], float] = monotonic) -> None:
        self._cluster, self._selector, self._clock = cluster, selector, clock
        self._pods: dict[Name, Body] = {}
        self._changed: set[Name] = set()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._revision = ""
        self._listed = clock()  # when everything was seen last

    @property
    def is_open(self) -> bool:
        """Whether it sees anything yet."""
        return bool(self._revision)

    def get(self, name: Name) -> Body | None:
        """The pod as it was seen last, None when none was."""
        with self._news:
            return self._pods.get(name)

    def names(self) -> list[Name]:
        """Of all that is seen."""
        with self._news:
            return list(self._pods)

    def changed(self, timeout_seconds: float) -> set[Name]:
        """What changed since the last call, as soon as there is any; empty after the timeout. Raises FrozenView."""
        if self._thread is None:
            self._listed = self._clock()
            self._thread = threading.Thread(target=self._run, name="pods", daemon=True)
            self._thread.start()
        with self._news:
            self._news.wait_for(lambda: self._changed, timeout_seconds)
            changed, self._changed = self._changed, set()
        if self._clock() - self._listed > FROZEN_SECONDS:
            raise FrozenView(f"no list of pods for {FROZEN_SECONDS:g} s")
        return changed

    def close(self) -> None:
        """Look no more; a watch that hangs is left behind."""
        self._closed.set()

    def _run(self) -> None:
        """Until closed. A watch that ends is taken up where it ended; one that expired begins with a list."""
        while not self._closed.is_set():
            try:
                if not self._revision or self._clock() - self._listed > RELIST_SECONDS:
                    self._list()
                self._follow()
            except Expired:
                self._revision = ""
            except Unavailable as error:
                if not self._closed.wait(PAUSE_SECONDS):
                    log.warning("the pods cannot be watched: %s", error)
            except Exception:  # whatever an answer was, the next may be better; a view that stays blind ends above
                log.exception("the pods cannot be watched")
                self._revision = ""
                self._closed.wait(PAUSE_SECONDS)

    def _list(self) -> None:
        found, revision = self._cluster.find(self._selector)
        pods = {name: pod for pod in found if (name := Name.parse(pod["metadata"]["name"]))}
        with self._news:
            differ = {name for name in self._pods.keys() | pods.keys()
                      if _revision(self._pods.get(name)) != _revision(pods.get(name))}
            self._pods = pods
            self._tell(differ)
        self._revision, self._listed = revision, self._clock()

    def _follow(self) -> None:
        for event in self._cluster.watch(self._selector, self._revision):
            pod = event["object"]
            self._revision = pod["metadata"]["resourceVersion"]
            name = Name.parse(pod["metadata"].get("name", ""))
            if name is not None and event["type"] != "BOOKMARK":
                self._take(name, None if event["type"] == "DELETED" else pod)
            if self._clock() - self._listed > RELIST_SECONDS:
                return

    def _take(self, name: Name, pod: Body | None) -> None:
        with self._news:
            if pod is None:
                self._pods.pop(name, None)
            else:
                self._pods[name] = pod
            self._tell({name})

    def _tell(self, names: set[Name]) -> None:
        self._changed |= names
        if names:
            self._news.notify_all()


def _revision(pod: Body | None) -> str | None:
    return None if pod is None else pod["metadata"]["resourceVersion"]
