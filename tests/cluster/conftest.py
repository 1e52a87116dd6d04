"""A cluster of its own for each test, and the official client to speak with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.cluster import Cluster, Delays, Image


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A second of a grace period or a deadline lasts a twentieth of one."""
    with Cluster(tmp_path, images={"sim:1": Image()}, delays=Delays(second=0.05)) as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster) -> Iterator[client.CoreV1Api]:
    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
        yield client.CoreV1Api(connection)


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
