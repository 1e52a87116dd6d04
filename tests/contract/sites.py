"""Clusters for the contract suite: one of our own in this process, and the one that SIMYARD_TEST_KUBECONFIG names. Of
that nothing is asked but a namespace, pods, and an image with our own programs (SIMYARD_TEST_IMAGE)."""

import inspect
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client, config

from shared.domain.errors import Conflict, NotFound, Unavailable
from tests import fakes
from tests.cluster import Cluster, Delays, Image
from tests.waiting import until
from workers.runtimes.kubernetes.cluster import Cluster as Api
from workers.runtimes.kubernetes.pods import PROGRAM_USER, PYTHON, Site
from workers.runtimes.kubernetes.runtime import KubernetesRuntime

PROGRAM_IMAGE = os.environ.get("SIMYARD_TEST_IMAGE", "worker:1")
PATIENCE_SECONDS = 300.0  # for an image to be pulled, and for a namespace to go


@dataclass(frozen=True)
class ClusterSite:
    """Where pods may be made, and the URL at which their recorders find web."""

    api: Api
    web_url: str

    def runtime(self) -> KubernetesRuntime:
        """One of an installation of its own, which sees nothing of the others."""
        return KubernetesRuntime(
            Site(f"test-{uuid4().hex}", self.api.namespace, PROGRAM_IMAGE, self.web_url), self.api)


@contextmanager
def own_site(folder: Path) -> Iterator[ClusterSite]:
    """A cluster in this process; a second of a grace period lasts a twentieth of one."""
    images = {PROGRAM_IMAGE: Image()}
    with fakes.FakeWeb() as web, Cluster(folder, images=images, delays=Delays(second=0.05)) as cluster:
        yield ClusterSite(Api("robot-sims", cluster.kubeconfig), web.url)


@contextmanager
def given_site(kubeconfig: Path) -> Iterator[ClusterSite]:
    """A namespace of its own on this cluster; the web of its recorders is a pod, for pods reach one another."""
    if "SIMYARD_TEST_IMAGE" not in os.environ:
        raise pytest.UsageError("SIMYARD_TEST_IMAGE: name the image of workers that the cluster can pull")
    with config.new_client_from_config(str(kubeconfig)) as connection:
        core = client.CoreV1Api(connection)
        made = core.create_namespace({"metadata": {
            "generateName": "simyard-test-", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
        api = Api(made.metadata.name, kubeconfig)
        try:
            yield ClusterSite(api, _start_web(api))
        finally:
            _clear(api)
            core.delete_namespace(api.namespace)
            until(lambda: all(each.metadata.name != api.namespace for each in core.list_namespace().items),
                  seconds=PATIENCE_SECONDS)


def _start_web(api: Api) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:  # nodes may be this very machine
        port = free.getsockname()[1]
    until(lambda: _is_made(api, _web(port)))
    return f"http://{until(lambda: _address(api.get('web')), seconds=PATIENCE_SECONDS)}:{port}"


def _web(port: int) -> dict[str, Any]:
    script = inspect.getsource(fakes) + f"\nwith FakeWeb(('0.0.0.0', {port})):\n    threading.Event().wait()\n"
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {"metadata": {"name": "web"}, "spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": PROGRAM_USER,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "web", "image": PROGRAM_IMAGE, "securityContext": confined,
                        "command": [PYTHON, "-P", "-c", script.replace("$", "$$")]}]}}


def _is_made(api: Api, pod: dict[str, Any]) -> bool:
    """Not while the service account of a new namespace is still to come, which is refused like a missing right."""
    try:
        with suppress(Conflict):  # the answer to the try before was lost
            api.create(pod)
    except Unavailable:
        return False
    return True


def _address(pod: dict[str, Any]) -> str | None:
    """Where it listens, once it runs; fails when it has ended."""
    assert pod["status"].get("phase") in ("Pending", "Running"), pod["status"]
    found: str | None = pod["status"].get("podIP") if pod["status"]["phase"] == "Running" else None
    return found


def _clear(api: Api) -> None:
    """Have every pod end and go, for a finalizer of ours holds a namespace as it holds a pod."""
    for pod in api.find("")[0]:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        with suppress(NotFound, Conflict):
            api.delete(name, uid, grace_seconds=1)
            api.patch(name, {"metadata": {"uid": uid, "finalizers": None}})
