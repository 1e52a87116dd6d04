"""Pods to make, and words for what tests of the cluster ask of them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.cluster import Cluster, main_state

NS = "robot-sims"
LOOP = "while :; do sleep 0.01; done"
# A sidecar as it should be: it never ends by itself, and says when it is told to.
RECORDER = f"trap 'echo recorder told >>/work/trace; exit 0' TERM; echo up >>/work/up; {LOOP}"
SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def a_pod(name: str, script: str = "exit 0", *, sidecar: str | None = None, init: str | None = None,
          main: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that the restricted namespace admits: shell scripts that share the folder /work. `sidecar` and `init` are
    scripts as well; `main` and `spec` are further fields."""
    work = {"image": "sim:1", "securityContext": SAFE, "volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    inits = [{"name": "init", "command": ["sh", "-c", init], **work}] if init else []
    if sidecar:
        inits.append({"name": "recorder", "restartPolicy": "Always", "command": ["sh", "-c", sidecar], **work})
    return {"metadata": {"name": name, **(metadata or {})}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 10, "volumes": [{"name": "work", "emptyDir": {}}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": inits,
        "containers": [{"name": "main", "command": ["sh", "-c", script], **work, **(main or {})}], **spec}}


def wait_for(file: str) -> str:
    """A shell script that goes on when there is a file."""
    return f"while [ ! -e {file} ]; do sleep 0.01; done; "


UP = wait_for("/work/up")


def gated(name: str, **fields: Any) -> dict[str, Any]:
    """A pod that stays as it was made: no node takes it."""
    return a_pod(name, schedulingGates=[{"name": "simyard.io/test"}], **fields)


def refusal(call: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """The Status body of a call that is refused."""
    with pytest.raises(ApiException) as refused:
        call(*arguments, **options)
    body: dict[str, Any] = json.loads(refused.value.body)
    assert body["code"] == refused.value.status
    assert (body["kind"], body["status"]) == ("Status", "Failure")
    return body


def watching(api: client.CoreV1Api, since: str, **options: Any) -> Iterator[tuple[str, str]]:
    """Type and name (or code, or revision) of each event after a revision, as they come."""
    answer = api.list_namespaced_pod(NS, watch=True, resource_version=since, _preload_content=False,
                                     _request_timeout=30, **options)
    try:
        buffer = b""
        for block in answer.stream(amt=None):
            *lines, buffer = (buffer + block).split(b"\n")
            for event in map(json.loads, lines):
                about = event["object"]
                yield event["type"], about.get("code") or about["metadata"].get("name") or about["metadata"][
                    "resourceVersion"]
    finally:
        answer.close()


def revision(api: client.CoreV1Api) -> str:
    answer: str = api.list_namespaced_pod(NS).metadata.resource_version
    return answer


def names(answer: Any) -> list[str]:
    return [pod.metadata.name for pod in answer.items]


def has_ended(pod: dict[str, Any]) -> dict[str, Any] | None:
    return pod if pod["status"]["phase"] in ("Succeeded", "Failed") else None


def ended(container: str | None = None) -> Any:
    return lambda pod: main_state(pod, container).get("terminated")


def running(container: str | None = None) -> Any:
    return lambda pod: main_state(pod, container).get("running")


def work(cluster: Cluster, name: str, node: int = 0) -> Path:
    """The folder /work of a pod."""
    pod = cluster.pod(name)
    assert pod is not None
    return cluster.nodes[node].folder / pod["metadata"]["uid"] / "volumes" / "work"
