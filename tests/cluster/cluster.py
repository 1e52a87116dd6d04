"""The whole cluster of a test: API server, scheduler and nodes over one store."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml

from tests.cluster.apiserver import ApiServer
from tests.cluster.containers import Image
from tests.cluster.node import Capacity, Delays, Node
from tests.cluster.scheduler import Scheduler
from tests.cluster.store import Store

T = TypeVar("T")
Pod = dict[str, Any]


class Cluster:
    """To be used as a context; `server` and `node` (or `nodes`) take the orders of tests. The namespace `robot-sims`
    enforces the Pod Security level `restricted`, `robot` does not. With no nodes there is no scheduler either."""

    def __init__(self, folder: Path, *, images: dict[str, Image] | None = None, nodes: int = 1,
                 capacity: Capacity | None = None, labels: dict[str, str] | None = None, delays: Delays | None = None,
                 token: str | None = None, window: int = 1000, watch_buffer: int = 1000) -> None:
        self.folder = folder
        self.server = ApiServer(Store(window, watch_buffer), token=token)
        self.registry = self.server.registry
        self.images = images if images is not None else {}
        self.nodes: Sequence[Node] = [
            Node(self.registry, folder / name, name=name, images=self.images, capacity=capacity, labels=labels,
                 delays=delays) for name in (f"node-{number + 1}" for number in range(nodes))]
        self.server.logs = self._find_log
        self._scheduler = Scheduler(self.registry, self.nodes) if nodes else None
        self.registry.create("namespaces", None, {"metadata": {"name": "robot"}})
        self.registry.create("namespaces", None, {"metadata": {"name": "robot-sims", "labels": {
            "pod-security.kubernetes.io/enforce": "restricted"}}})
        self.kubeconfig = folder / "kubeconfig"
        self._write_kubeconfig(token)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self._scheduler is not None:
            self._scheduler.close()
        try:
            for node in self.nodes:
                node.close()
        finally:
            self.server.close()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def node(self) -> Node:
        return self.nodes[0]

    def pod(self, name: str, namespace: str = "robot-sims") -> Pod | None:
        """The pod as it is now, without asking over HTTP."""
        version = self.registry.store.get("pods", namespace, name)
        return version.body if version else None

    def pods(self, namespace: str = "robot-sims") -> list[Pod]:
        return [version.body for version in self.registry.store.objects("pods", namespace)]

    def wait(self, name: str, look: Callable[[Pod], T], namespace: str = "robot-sims", seconds: float = 30) -> T:
        """The first true answer of `look` about a pod, asked after each change of anything; the pod has to be there."""
        def seek() -> T:
            pod = self.pod(name, namespace)
            assert pod is not None, f"there is no pod {name}"
            return look(pod)

        answer: T = self.server.until(seek, seconds)
        return answer

    def wait_until_gone(self, name: str, namespace: str = "robot-sims", seconds: float = 30) -> None:
        self.server.until(lambda: self.pod(name, namespace) is None, seconds)

    def _find_log(self, pod: Pod, container: str) -> tuple[Path | None, bool]:
        node = next((node for node in self.nodes if node.name == pod["spec"].get("nodeName")), None)
        return node.find_log(pod, container) if node else (None, False)

    def _write_kubeconfig(self, token: str | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "robot-sims"}}]}))


def main_state(pod: Pod, container: str | None = None) -> dict[str, Any]:
    """The state of the first main container, or of the container of this name: {"waiting" | "running" | "terminated":
    {...}}; empty before the node has said anything."""
    status = pod["status"]
    seen = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    found: list[dict[str, Any]] = [each["state"] for each in seen if container in (None, each["name"])]
    return found[0] if found else {}
