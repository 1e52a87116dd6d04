"""Binds pods to nodes that have room for them, and says of the others why not, in the scheduler's words."""

import queue
import threading
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from tests.cluster.defaults import quantity
from tests.cluster.node import Node, merge_conditions
from tests.cluster.registry import Registry
from tests.cluster.store import Version
from tests.cluster.volumes import Body
from tests.cluster.watches import Change

Amounts = dict[str, Decimal]
_RETRY_SECONDS = 0.05


class Scheduler:
    """Works in a thread from its making until close()."""

    def __init__(self, registry: Registry, nodes: Sequence[Node]) -> None:
        self._registry, self._nodes = registry, nodes
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._waiting: dict[str, Version] = {}  # by uid
        self._bound: dict[str, tuple[Node, Amounts]] = {}  # by uid, what it takes and where
        registry.store.subscribe(self._changes.put)
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._changes.put(None)
        self._thread.join()

    def _run(self) -> None:
        """A change of a pod, then the pods whose turn it may be; all that wait now and then, as nodes change too."""
        while True:
            try:
                change = self._changes.get(timeout=_RETRY_SECONDS if self._waiting else None)
            except queue.Empty:
                self._try_all()
                continue
            if change is None:
                return
            if change.version.resource == "pods":
                self._note(change)

    def _note(self, change: Change) -> None:
        pod = change.version
        uid = pod.body["metadata"]["uid"]
        if change.new is None or pod.body["status"]["phase"] in ("Succeeded", "Failed"):
            self._waiting.pop(uid, None)
            if self._bound.pop(uid, None):
                self._try_all()
        elif not any(pod.body["spec"].get(field) for field in ("nodeName", "schedulingGates")) and (
                "deletionTimestamp" not in pod.body["metadata"]):
            self._waiting[uid] = pod
            self._try(uid)

    def _try_all(self) -> None:
        for uid in list(self._waiting):
            self._try(uid)

    def _try(self, uid: str) -> None:
        pod = self._waiting[uid]
        wanted = requested(pod.body["spec"])
        lacks = {node.name: self._lacking(node, pod.body["spec"], wanted) for node in self._nodes}
        node = next((node for node in self._nodes if not lacks[node.name]), None)
        if node is None:
            self._mark(pod, {"status": "False", "reason": "Unschedulable", "message": _say(list(lacks.values()))})
            return
        del self._waiting[uid]
        self._bound[uid] = node, wanted
        self._registry.change(pod, lambda body: body | {
            "spec": body["spec"] | {"nodeName": node.name},
            "status": body["status"] | {"conditions": merge_conditions(
                body["status"], {"PodScheduled": {"status": "True"}})}})

    def _lacking(self, node: Node, spec: Body, wanted: Amounts) -> list[str]:
        """Why the node cannot take a pod, nothing when it can."""
        if node.lost:
            return ["node(s) had untolerated taint {node.kubernetes.io/unreachable: }"]
        if any(node.labels.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
            return ["node(s) didn't match Pod's node affinity/selector"]
        free = {name: quantity(text) for name, text in {
            "cpu": node.capacity.cpu, "memory": node.capacity.memory, **node.capacity.others}.items()}
        guests = [amounts for where, amounts in self._bound.values() if where is node]
        lacking = ["Too many pods"] if len(guests) >= node.capacity.pods else []
        for name, amount in wanted.items():
            taken = sum((guest.get(name, Decimal(0)) for guest in guests), Decimal(0))
            if amount > free.get(name, Decimal(0)) - taken:
                lacking.append(f"Insufficient {name}")
        return lacking

    def _mark(self, pod: Version, condition: Body) -> None:
        self._registry.change(pod, lambda body: body | {"status": body["status"] | {
            "conditions": merge_conditions(body["status"], {"PodScheduled": condition})}})


def requested(spec: Body) -> Amounts:
    """What a pod takes of a node: its main containers and sidecars together, or its greediest init container."""
    lasting, passing = Counter[str](), Counter[str]()
    for container in spec["containers"]:
        lasting.update(_amounts(container))
    for container in spec.get("initContainers", []):
        if container.get("restartPolicy") == "Always":
            lasting.update(_amounts(container))
        else:
            passing |= _amounts(container)
    return {name: Decimal(amount) for name, amount in (lasting | passing).items()}


def _amounts(container: Body) -> "Counter[str]":
    requests = container["resources"].get("requests", {})
    return Counter({name: quantity(text) for name, text in requests.items()
                    if name != "ephemeral-storage"})


def _say(lacks: list[list[str]]) -> str:
    counts = Counter(reason for reasons in lacks for reason in reasons)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    total = len(lacks)
    helpful = any(reason.startswith(("Insufficient", "Too many")) for reason in counts)
    why = "No preemption victims found for incoming pod" if helpful else "Preemption is not helpful for scheduling"
    return (f"0/{total} nodes are available: {reasons}. preemption: 0/{total} nodes are available: {total} "
            f"{why}.")
