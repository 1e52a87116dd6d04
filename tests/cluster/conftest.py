"""A cluster of its own for each test, and the official client to speak with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from tests.cluster import Cluster, Delays, Image
from tests.cluster.asking import NS, gated


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A second of a grace period or a deadline lasts a twentieth of one."""
    with Cluster(tmp_path, images={"sim:1": Image()}, delays=Delays(second=0.05)) as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster) -> Iterator[client.CoreV1Api]:
    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
        yield client.CoreV1Api(connection)


@pytest.fixture
def three(api: client.CoreV1Api) -> client.CoreV1Api:
    for name, labels in (("a", {"job": "1", "kind": "instance"}), ("b", {"job": "2"}), ("c", {})):
        api.create_namespaced_pod(NS, gated(name, metadata={"labels": labels}))
    return api
