"""A node: runs the pods that are bound to it as processes of this machine, tells the API server of them as a kubelet
does, and lets happen to them what happens on real nodes when a test says so."""

import functools
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster.containers import Container, Image
from tests.cluster.defaults import timestamp
from tests.cluster.pods import PodLife, Stop
from tests.cluster.refusals import Refusal
from tests.cluster.registry import Registry
from tests.cluster.spawner import open_spawner
from tests.cluster.store import Version
from tests.cluster.volumes import Body
from tests.cluster.watches import Change


@dataclass(frozen=True)
class Delays:
    """How long the steps of a pod's life take, in seconds; their order is Kubernetes' whatever they are."""

    second: float = 1.0  # how long a second of grace periods and deadlines lasts
    start: float = 0.002  # of a container, before it
    exit_seen: float = 0.002  # from a process's end to the status that tells of it
    sidecar_stop: float = 0.002  # from the last main's end to the sidecars' SIGTERM
    terminal: float = 0.005  # from the last sidecar's end to the terminal phase
    back_off: tuple[float, ...] = (0.02, 0.2, 0.4, 1.0)  # before a restart, and between tries at an image
    forced: float = 0.05  # how many of Kubernetes' seconds a pod lives on whose object was deleted with no grace


@dataclass(frozen=True)
class Capacity:
    """What a node has. `others` are GPUs and the like, by their resource names."""

    pods: int = 110
    cpu: str = "64"
    memory: str = "256Gi"
    others: Mapping[str, str] = field(default_factory=dict)


class Pulled(NamedTuple):
    """An image that is there, or will be in so many seconds."""

    image: Image
    seconds: float


class Node:
    """`images` may be changed while it runs. What is done to a pod goes by the pod's name; the newest of that name."""

    def __init__(self, registry: Registry, folder: Path, *, name: str = "node-1",
                 images: dict[str, Image] | None = None, capacity: Capacity | None = None,
                 labels: dict[str, str] | None = None, delays: Delays | None = None) -> None:
        self.registry, self.folder, self.name = registry, folder, name
        self.images = images if images is not None else {}
        self.capacity = capacity or Capacity()
        self.labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                       **(labels or {})}
        self.delays = delays or Delays()
        self.errors: list[BaseException] = []
        self.lost = False
        self.spawner = open_spawner()
        self._lives: dict[str, PodLife] = {}  # by uid
        self._slow_pulls: dict[str, float] = {}
        self._lock = threading.RLock()
        self._closed = False
        registry.store.subscribe(self._hear)

    def close(self) -> None:
        """End every process. Raises the first error that the life of a pod met with."""
        with self._lock:
            self._closed = True
            lives = list(self._lives.values())
        for life in lives:
            life.close()
        if self.errors:
            raise self.errors[0]

    def _hear(self, change: Change) -> None:
        """Called with each change of an object, under the store's lock."""
        pod = change.version
        if pod.resource != "pods" or pod.body["spec"].get("nodeName") != self.name or self.lost:
            return
        with self._lock:
            life = self._lives.get(pod.body["metadata"]["uid"])
            if change.new is None:
                self._let_go(life)
            elif life is not None:
                life.see(pod)
            else:
                self._take_up(pod)

    def _take_up(self, pod: Version) -> None:
        if self._closed or pod.body["status"]["phase"] in ("Succeeded", "Failed"):
            return
        uid = pod.body["metadata"]["uid"]
        self._lives[uid] = PodLife(self, pod, self.folder / uid)
        self._lives[uid].start()

    def _let_go(self, life: PodLife | None) -> None:
        """The object is gone: deleted with no grace, if the pod still lives."""
        if life is not None and life.has_ended:
            del self._lives[life.pod.body["metadata"]["uid"]]
        elif life is not None:
            life.stop(Stop(self.delays.forced))

    def publish(self, life: PodLife) -> None:
        """Write what a life has come to into its object; one that is being deleted goes when it has ended."""
        if self.lost or self._closed:
            return
        status = life.status()
        pod = self.registry.change(life.pod, lambda body: body | {"status": _merge_status(body["status"], status)})
        if pod is not None and life.has_ended and "deletionTimestamp" in pod.body["metadata"]:
            self._delete(pod, grace_seconds=0)

    def pull(self, image: str) -> Pulled | None:
        """None when no registry has it, under that name or by that digest."""
        found = self.images.get(image) or next(
            (each for name, each in self.images.items() if each.id(name) == image), None)
        return found and Pulled(found, self._slow_pulls.pop(image, 0.0))

    def find_log(self, pod: Body, container: str) -> tuple[Path | None, bool]:
        """The log of a container's last run, and whether that has ended."""
        life = self._lives.get(pod["metadata"]["uid"])
        if self.lost:
            raise Refusal(500, "InternalError", f'Get "https://127.0.0.1:10250/containerLogs/{pod["metadata"]["name"]}/'
                          f'{container}": dial tcp 127.0.0.1:10250: connect: connection refused')
        if life is None or life.logs_lost:
            return None, True
        found = life.container(container)
        return (found.log if found.log.exists() else None), life.has_ended or not found.is_running

    def life(self, name: str) -> PodLife:
        """The newest pod of this name that was bound here and is not yet forgotten."""
        with self._lock:
            return next(life for life in reversed(self._lives.values()) if life.pod.key[2] == name)

    # What happens on real nodes.

    def slow_pull(self, image: str, seconds: float) -> None:
        """The next pull of an image takes so long."""
        self._slow_pulls[image] = seconds

    def oom_kill(self, name: str, container: str | None = None, *, only_child: bool = False) -> None:
        """The kernel kills a container (the first main one) that has used up its memory. `only_child`: just its biggest
        process below the first; whatever it then exits with, the reason is OOMKilled."""
        life, victim = self._find(name, container)

        def kill() -> None:
            if victim.process is None:
                return
            victim.end_reason = "OOMKilled"
            if only_child:
                victim.process.kill_biggest_child()
            else:
                victim.process.signal(signal.SIGKILL)

        life.tell(kill)

    def forget_exit_code(self, name: str, container: str | None = None) -> None:
        """The container's next end, whatever it is, is told as 255 Unknown: containerd was restarted meanwhile."""
        life, victim = self._find(name, container)

        def forget() -> None:
            victim.end_reason = "Unknown"

        life.tell(forget)

    def _find(self, name: str, container: str | None) -> tuple[PodLife, Container]:
        life = self.life(name)
        return life, life.container(container) if container else life.mains[0]

    def evict(self, name: str, message: str = 'Usage of EmptyDir volume "work" exceeds the limit "64Mi". ') -> None:
        """The pod has used too much disk: its main containers are killed at once, sidecars get two seconds; the exit
        codes of the mains and all logs are lost."""
        life = self.life(name)
        self._disrupt(life.pod, "TerminationByKubelet", message)
        life.logs_lost = True
        life.stop(Stop(0, "Evicted", message, lost_mains=True))

    def preempt(self, name: str) -> None:
        """The scheduler deletes the pod for one of a higher priority."""
        pod = self.life(name).pod
        self._disrupt(pod, "PreemptionByScheduler",
                      "default-scheduler: preempting to accommodate a higher priority pod")
        self._delete(pod)

    def lose(self, *, processes_die: bool = False) -> None:
        """The node is not heard of any more: no status is written and no deletion followed until recover(). Whether its
        processes run on is as asked."""
        with self._lock:
            self.lost = True
            lives = list(self._lives.values())
        for life in lives:
            for container in life.containers if processes_die else []:
                if container.process is not None:
                    container.process.signal(signal.SIGKILL)
        for pod in self._own_pods():
            message = f"Node {self.name} which was running pod {pod.key[2]} is unresponsive"
            self._mark(pod, {"Ready": False}, reason="NodeLost", message=message)

    def delete_lost_pods(self) -> None:
        """What the taint manager does after five minutes: the pods are deleted, but nobody ends them."""
        for pod in self._own_pods():
            self._disrupt(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
            self._delete(pod)

    def collect_lost_pods(self) -> None:
        """What the pod garbage collector does when the node's object is removed: Failed, and deleted with no grace."""
        for pod in self._own_pods():
            self._disrupt(pod, "DeletionByPodGC", "PodGC: node no longer exists", phase="Failed")
            self._delete(pod, grace_seconds=0)

    def recover(self) -> None:
        """The node is back: it learns what was asked meanwhile, and tells what has become of its pods."""
        with self._lock:
            self.lost = False
            lives = list(self._lives.values())
        for life in lives:
            pod = self.registry.same(life.pod)
            if pod is None:
                with self._lock:
                    self._let_go(life)
            elif life.has_ended:
                self.publish(life)
            else:
                life.see(pod)
                life.tell(functools.partial(self.publish, life))
        for pod in self._own_pods():
            with self._lock:
                if pod.body["metadata"]["uid"] not in self._lives:
                    self._take_up(pod)

    def _own_pods(self) -> list[Version]:
        """Those bound here that have not ended."""
        return [pod for pod in self.registry.store.objects("pods") if pod.body["spec"].get("nodeName") == self.name
                and pod.body["status"]["phase"] not in ("Succeeded", "Failed")]

    def _delete(self, pod: Version, grace_seconds: int | None = None) -> None:
        with self.registry.store.lock:
            if self.registry.same(pod):
                self.registry.delete(*pod.key, grace_seconds=grace_seconds)

    def _disrupt(self, pod: Version, reason: str, message: str, **fields: Any) -> None:
        condition = {"status": "True", "reason": reason, "message": message}
        self._mark(pod, {"DisruptionTarget": condition}, **fields)

    def _mark(self, pod: Version, conditions: dict[str, Any], **fields: Any) -> None:
        self.registry.change(pod, lambda body: body | {
            "status": body["status"] | fields | {"conditions": merge_conditions(body["status"], conditions)}})


def _merge_status(old: Body, new: Body) -> Body:
    """The kubelet writes all but what others have said of the pod."""
    return {"qosClass": old["qosClass"], **new, "conditions": merge_conditions(old, new["conditions"])}


def merge_conditions(status: Body, new: Mapping[str, bool | Body]) -> list[Body]:
    """The conditions of a status with new ones; their times change with their words only."""
    merged: dict[str, Body] = {condition["type"]: condition for condition in status.get("conditions", [])}
    for name, value in new.items():
        condition = {"type": name, **(value if isinstance(value, dict) else {"status": str(value)})}
        old = merged.get(name, {})
        if any(old.get(field) != text for field, text in condition.items()):
            merged[name] = condition | {"lastProbeTime": None, "lastTransitionTime": timestamp()}
    return list(merged.values())
