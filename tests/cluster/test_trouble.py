"""What happens to pods on real nodes, on a test's order."""

from pathlib import Path

import pytest
from kubernetes import client

from tests.cluster import Cluster, main_state
from tests.cluster.asking import LOOP, NS, RECORDER, UP, a_pod, has_ended, running, wait_for, work
from tests.waiting import until


@pytest.mark.parametrize(("only_child", "code", "phase"), [(False, 137, "Failed"), (True, 0, "Succeeded")])
def test_an_oom_kill_is_told_by_its_reason_also_when_main_ends_well(
        cluster: Cluster, api: client.CoreV1Api, only_child: bool, code: int, phase: str) -> None:
    api.create_namespaced_pod(NS, a_pod("a", "{ sleep 1000 & }; touch /work/up; wait; exit 0"))
    cluster.wait("a", running())
    until((work(cluster, "a") / "up").exists)

    cluster.node.oom_kill("a", only_child=only_child)

    pod = cluster.wait("a", has_ended)
    assert pod["status"]["phase"] == phase
    assert (main_state(pod)["terminated"]["exitCode"], main_state(pod)["terminated"]["reason"]) == (code, "OOMKilled")


def test_an_eviction_loses_mains_exit_and_the_logs_and_tells_the_sidecar(
        cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", f"echo hello; {UP} {LOOP}", sidecar=RECORDER))
    cluster.wait("a", running())
    until((work(cluster, "a") / "up").exists)
    trace = work(cluster, "a") / "trace"

    cluster.node.evict("a")
    pod = cluster.wait("a", has_ended)

    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "Evicted")
    assert "exceeds the limit" in pod["status"]["message"]
    assert main_state(pod)["terminated"]["reason"] == "ContainerStatusUnknown"
    assert trace.read_text() == "recorder told\n"
    assert api.read_namespaced_pod_log("a", NS, container="main", _preload_content=False).data == b""


def test_a_preempted_pod_says_why_it_is_deleted(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", LOOP, metadata={"finalizers": ["simyard.io/record"]},
                                        terminationGracePeriodSeconds=1))
    cluster.wait("a", running())

    cluster.node.preempt("a")
    pod = cluster.wait("a", has_ended)

    disrupted = next(each for each in pod["status"]["conditions"] if each["type"] == "DisruptionTarget")
    assert (disrupted["status"], disrupted["reason"]) == ("True", "PreemptionByScheduler")
    assert pod["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("processes_die", [False, True])
def test_of_a_lost_node_nothing_is_heard_until_it_is_back(
        cluster: Cluster, api: client.CoreV1Api, processes_die: bool) -> None:
    api.create_namespaced_pod(NS, a_pod("a", wait_for("/work/go"), metadata={"finalizers": ["simyard.io/record"]}))
    cluster.wait("a", running())
    pid = cluster.node.life("a").mains[0].process.pid  # type: ignore[union-attr]

    cluster.node.lose(processes_die=processes_die)
    if not processes_die:
        (work(cluster, "a") / "go").touch()
    until(lambda: not Path(f"/proc/{pid}").exists())
    lost = api.read_namespaced_pod("a", NS)
    cluster.node.delete_lost_pods()
    deleted = api.read_namespaced_pod("a", NS)
    cluster.node.recover()
    pod = cluster.wait("a", has_ended)

    assert (lost.status.phase, lost.status.reason) == ("Running", "NodeLost")
    assert {each.type: each.status for each in lost.status.conditions}["Ready"] == "False"
    assert lost.status.container_statuses[0].state.running
    assert deleted.metadata.deletion_timestamp and deleted.status.phase == "Running"
    assert "reason" not in pod["status"]
    assert main_state(pod)["terminated"]["exitCode"] == (137 if processes_die else 0)


def test_pods_of_a_removed_node_are_failed_and_collected(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", LOOP, metadata={"finalizers": ["simyard.io/record"]}))
    cluster.wait("a", running())

    cluster.node.lose()
    cluster.node.collect_lost_pods()
    kept = api.read_namespaced_pod("a", NS)
    api.patch_namespaced_pod("a", NS, {"metadata": {"finalizers": None}})

    assert kept.status.phase == "Failed"
    assert cluster.pod("a") is None


def test_an_exit_during_a_restart_of_containerd_is_told_as_255(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", wait_for("/work/go")))
    cluster.wait("a", running())

    cluster.node.forget_exit_code("a")
    (work(cluster, "a") / "go").touch()
    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Failed"
    assert (main_state(pod)["terminated"]["exitCode"], main_state(pod)["terminated"]["reason"]) == (255, "Unknown")


def test_the_active_deadline_ends_a_pod_and_may_be_set_while_it_runs(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", LOOP, terminationGracePeriodSeconds=1))
    cluster.wait("a", running())

    api.patch_namespaced_pod("a", NS, {"spec": {"activeDeadlineSeconds": 1}})
    pod = cluster.wait("a", has_ended)

    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert main_state(pod)["terminated"]["exitCode"] == 137
