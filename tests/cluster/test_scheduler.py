"""Which pods a node is found for, and what is said of the others."""

from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.cluster import Capacity, Cluster, Image, main_state
from tests.cluster.asking import NS, a_pod, has_ended


@pytest.mark.parametrize(("capacity", "spec", "says"), [
    (Capacity(pods=0), {}, "0/1 nodes are available: 1 Too many pods. preemption:"),
    (Capacity(cpu="100m"), {}, "0/1 nodes are available: 1 Insufficient cpu. preemption:"),
    (Capacity(), {"nodeSelector": {"gpu": "none"}}, "1 node(s) didn't match Pod's node affinity/selector."),
])
def test_a_pod_that_fits_nowhere_waits_until_it_does(
        cluster: Cluster, api: client.CoreV1Api, capacity: Capacity, spec: dict[str, Any], says: str) -> None:
    cluster.node.capacity = capacity
    api.create_namespaced_pod(NS, a_pod("a", main={"resources": {"limits": {"cpu": "200m"}}}, **spec))

    def refused(pod: dict[str, Any]) -> dict[str, Any] | None:
        conditions = pod["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == "PodScheduled"), None)

    condition = cluster.wait("a", refused)
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert says in condition["message"]
    assert "nodeName" not in api.read_namespaced_pod("a", NS, _preload_content=False).json()["spec"]
    cluster.node.capacity = Capacity()
    cluster.node.labels["gpu"] = "none"

    assert cluster.wait("a", has_ended)["status"]["phase"] == "Succeeded"


def test_a_gated_pod_runs_when_its_gate_is_taken_away(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", schedulingGates=[{"name": "simyard.io/go"}]))
    cluster.wait("a", lambda pod: any(each["reason"] == "SchedulingGated"
                                      for each in pod["status"].get("conditions", [])))

    api.patch_namespaced_pod("a", NS, [{"op": "remove", "path": "/spec/schedulingGates/0"}])

    assert cluster.wait("a", has_ended)["status"]["phase"] == "Succeeded"


def test_of_two_nodes_the_one_that_is_left_takes_the_pods(tmp_path: Path) -> None:
    with Cluster(tmp_path, images={"sim:1": Image()}, nodes=2) as cluster:
        cluster.nodes[0].lose()
        cluster.registry.create("pods", NS, a_pod("a"))

        pod = cluster.wait("a", has_ended)

        assert pod["spec"]["nodeName"] == "node-2"


def test_a_slow_pull_keeps_a_pod_pending(cluster: Cluster, api: client.CoreV1Api) -> None:
    cluster.node.slow_pull("sim:1", 3600)
    api.create_namespaced_pod(NS, a_pod("a"))

    pod = cluster.wait("a", lambda pod: main_state(pod) and pod)

    assert main_state(pod)["waiting"]["reason"] == "ContainerCreating"
    api.delete_namespaced_pod("a", NS)
    cluster.wait_until_gone("a")
