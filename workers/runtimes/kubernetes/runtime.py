"""The runtime of a cluster: an attempt is one bare pod, whose name is unique at the API server. Made by each worker and
the watcher from the settings.

The pod is created when the attempt has passed its gate, so a start costs one call. It carries a finalizer, so that it
cannot be gone before its end was taken down; it is stopped by DELETE with its whole grace and is never deleted by
force, for then two could run at once.
"""

from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from shared.domain.errors import Conflict, NotFound, SimyardError, Unavailable
from workers.runtimes.base import Name, NotMade, Observation, Run
from workers.runtimes.kubernetes import status
from workers.runtimes.kubernetes.cluster import Cluster
from workers.runtimes.kubernetes.pods import (
    ATTEMPT,
    FINALIZER,
    INSTALLATION,
    JOB,
    QUARANTINE,
    SPEC,
    Body,
    Site,
    manifest,
)
from workers.runtimes.kubernetes.view import View

GATE_SECONDS = 10.0  # from the gate to the create; later it is left, for the watcher may have given it up
KILL_SECONDS = 1


class PodLaunch:
    """A pod that is yet to be made."""

    def __init__(self, cluster: Cluster, pod: Body) -> None:
        self._cluster, self._pod = cluster, pod
        self._begun = monotonic()

    def go(self) -> None:
        """Make it. One that is there already is ours, or Conflict. Where the answer is lost, what is there counts."""
        if monotonic() - self._begun > GATE_SECONDS:
            raise NotMade(f"{self._name} came too late through its gate", code="runtime_unavailable")
        try:
            self._cluster.create(self._pod)
        except NotMade:
            raise
        except (Conflict, Unavailable) as failure:  # the name is taken, or the answer was lost
            self._adopt(failure)

    def abandon(self) -> None:
        """Nothing was made yet."""

    @property
    def _name(self) -> str:
        return str(self._pod["metadata"]["name"])

    def _adopt(self, failure: SimyardError) -> None:
        try:
            there = self._cluster.get(self._name)["metadata"]
        except NotFound:  # nothing was made yet; the conflict was another, as of a quota that many ask at once
            raise Unavailable(failure.detail, code="runtime_unavailable", remedy=failure.remedy) from failure
        wanted = self._pod["metadata"]
        same = all(there.get("labels", {}).get(label) == wanted["labels"][label]
                   for label in (INSTALLATION, JOB, ATTEMPT))
        if not same or there.get("annotations", {}).get(SPEC) != wanted["annotations"][SPEC]:
            raise Conflict(f"there is another pod called {self._name}, which is not ours")


class KubernetesRuntime:
    """Attempts as pods of one namespace."""

    boot = ""
    keeps = False

    def __init__(self, site: Site, cluster: Cluster) -> None:
        self.host = f"kubernetes/{site.namespace}"
        self._site, self._cluster = site, cluster
        self._view = View(cluster, site.selector)

    def start(self, run: Run) -> PodLaunch:
        """See Runtime. Whether it is there already is found out by its name, when it is made."""
        return PodLaunch(self._cluster, manifest(run, self._site))

    def observe(self, name: Name) -> Observation:
        """See Runtime. A pod that is seen is taken as the watch told of it; that there is none is asked."""
        pod = self._view.get(name) or self._find(name)
        return status.ABSENT if pod is None else status.observe(pod, self._cluster.now())

    def stop(self, name: Name, signal_number: int) -> bool:
        """See Runtime. The pod knows its signal and its grace: past that SIGKILL comes by itself."""
        return self._delete(name, None) is not None

    def kill(self, name: Name) -> None:
        """See Runtime. It has a second, for a pod deleted without any may still run when its name is free."""
        self._delete(name, KILL_SECONDS)

    def salvage(self, run: Run) -> bool:
        """See Runtime. What a pod wrote is gone with it."""
        return False

    def remove(self, name: Name) -> None:
        """See Runtime. The object itself goes when the node says that all of it has ended."""
        if self._is_let_go(name):
            return
        pod = self._delete(name, None)
        if pod is not None and FINALIZER in _finalizers(pod):
            others = [each for each in _finalizers(pod) if each != FINALIZER]
            self._change(name, {"metadata": {"finalizers": others, "uid": pod["metadata"]["uid"]}})

    def quarantine(self, name: Name) -> None:
        """See Runtime."""
        self._change(name, {"metadata": {"labels": {QUARANTINE: "true"}}})

    def names(self) -> Iterable[Name]:
        """See Runtime."""
        if self._view.is_open:
            return self._view.names()
        pods, _ = self._cluster.find(self._site.selector)
        return [name for pod in pods if (name := Name.parse(pod["metadata"]["name"]))]

    def hints(self, timeout_seconds: float) -> set[Name]:
        """See Runtime. Raises FrozenView when nothing was seen for long."""
        return self._view.changed(timeout_seconds)

    def close(self) -> None:
        """See Runtime."""
        self._view.close()

    def _find(self, name: Name) -> Body | None:
        """The pod as it is now, if it is this installation's."""
        try:
            pod = self._cluster.get(str(name))
        except NotFound:
            return None
        return pod if pod["metadata"].get("labels", {}).get(INSTALLATION) == self._site.installation else None

    def _is_let_go(self, name: Name) -> bool:
        """Whether all was done, and the node alone has not ended it yet."""
        pod = self._view.get(name)
        return pod is not None and "deletionTimestamp" in pod["metadata"] and FINALIZER not in _finalizers(pod)

    def _delete(self, name: Name, grace_seconds: int | None) -> Body | None:
        """The pod that there was. Asked again it changes nothing, but that a shorter grace counts."""
        pod = self._find(name)
        if pod is None:
            return None
        if grace_seconds is not None or "deletionTimestamp" not in pod["metadata"]:
            with suppress(NotFound, Conflict):  # gone meanwhile
                self._cluster.delete(str(name), pod["metadata"]["uid"], grace_seconds)
        return pod

    def _change(self, name: Name, change: Body) -> None:
        with suppress(NotFound, Conflict):  # gone meanwhile
            self._cluster.patch(str(name), change)


def _finalizers(pod: Body) -> list[str]:
    found: list[str] = pod["metadata"].get("finalizers", [])
    return found
