"""The scheduler and the nodes: pods live as measured on a real node, with real processes."""


from kubernetes import client

from tests.cluster import Cluster, main_state
from tests.cluster.conftest import a_pod, wait_for

NS = "robot-sims"
UNTIL_TERM = "trap 'echo told >>/work/trace; exit 0' TERM; echo up >>/work/trace; while :; do sleep 0.01; done"


def has_ended(pod: dict) -> dict | None:
    return pod if pod["status"]["phase"] in ("Succeeded", "Failed") else None


def test_a_pod_runs_its_init_containers_then_its_sidecar_then_main_and_ends(cluster: Cluster, api: client.CoreV1Api):
    api.create_namespaced_pod(NS, a_pod(
        "a", wait_for("/work/trace") + "echo main >>/work/trace; exit 3", init="echo init >/work/init",
        sidecar=f"cat /work/init; {UNTIL_TERM}"))

    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Failed"
    assert main_state(pod)["terminated"]["exitCode"] == 3
    assert main_state(pod)["terminated"]["reason"] == "Error"
    assert main_state(pod, "init")["terminated"]["reason"] == "Completed"
    assert main_state(pod, "recorder")["terminated"]["exitCode"] == 0
    uid = pod["metadata"]["uid"]
    trace = cluster.folder / "node-1" / uid / "volumes" / "work" / "trace"
    assert trace.read_text().split() == ["up", "main", "told"]
