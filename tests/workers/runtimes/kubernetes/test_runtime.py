"""The runtime on a cluster whose API server and nodes fail on order."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml

from shared.domain.errors import Conflict, InvalidSpec, Unavailable
from shared.domain.specs import Limits, Program, Resources, Stop
from shared.domain.states import Reason
from tests.cluster import Cluster, Image
from tests.fakes import FakeWeb
from tests.waiting import until
from workers.runtimes.base import Name, NotMade, Recorder, Run, Seen
from workers.runtimes.kubernetes import runtime as module
from workers.runtimes.kubernetes import status
from workers.runtimes.kubernetes.cluster import Cluster as Api
from workers.runtimes.kubernetes.pods import QUARANTINE, Site
from workers.runtimes.kubernetes.runtime import KubernetesRuntime

K8S = Path(__file__).parents[4] / "k8s"


def run(script: str = "exit 0", **fields: object) -> Run:
    program = Program.model_validate({"command": ("/bin/sh", "-c", script), "image": "sim:1"} | fields)
    return Run(Name(uuid4(), 1), "instance", program, {"speed": 2}, 5, "token", UUID(int=3))


def state_of(pod: dict[str, Any], container: str) -> dict[str, Any]:
    statuses = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    return next((each["state"] for each in statuses if each["name"] == container), {})


def started(runtime: KubernetesRuntime, script: str = "exit 0", **fields: object) -> Name:
    new = run(script, **fields)
    runtime.start(new).go()
    return new.name


def test_a_life_costs_four_calls_and_needs_the_rights_of_pods_alone(
        runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime)
    cluster.wait(str(name), lambda pod: pod["status"]["phase"] == "Succeeded")
    runtime.remove(name)
    cluster.wait_until_gone(str(name))
    calls = [(call.verb, call.resource) for call in cluster.server.calls]
    assert calls == [("create", "pods"), ("get", "pods"), ("delete", "pods"), ("patch", "pods")]


def test_all_that_it_asks_for_is_what_its_account_may(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    """S0-71, S4-20: k8s/base/rbac.yaml gives exactly these rights."""
    name = started(runtime, "sleep 60")
    until(lambda: name in runtime.hints(0.1))
    runtime.observe(Name(uuid4(), 1))
    runtime.kill(name)
    runtime.remove(name)
    runtime.quarantine(name)
    [role] = [each for each in yaml.safe_load_all((K8S / "base/rbac.yaml").read_text()) if each["kind"] == "Role"]
    allowed = {(verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {(call.verb, call.resource) for call in cluster.server.calls} == allowed


def test_what_it_recorded_and_said_arrives(runtime: KubernetesRuntime, web: FakeWeb) -> None:
    name = started(runtime, 'cat "$SIMYARD_PARAMETERS"; echo $SIMYARD_SEED; echo data >"$SIMYARD_OUTPUT/notes.txt"; '
                            'echo \'{"passed": true}\' >"$SIMYARD_OUTPUT/result.json"; exit 3')
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert runtime.observe(name).exit_code == 3
    assert web.facts is not None
    assert web.facts["log"]["tail"] == '{"speed": 2}5\n'
    assert web.facts["result"] == {"passed": True, "metrics": {}}
    assert web.objects["output/notes.txt"] == b"data\n"


def test_what_a_container_beside_the_program_writes_at_its_end_is_collected(
        runtime: KubernetesRuntime, web: FakeWeb) -> None:
    closing = 'trap "sleep 1; echo closed >>$SIMYARD_OUTPUT/bag; exit 0" INT; echo open >$SIMYARD_OUTPUT/bag; ' \
              'while :; do sleep 0.05; done'
    name = started(runtime, 'until [ -e "$SIMYARD_OUTPUT/bag" ]; do sleep 0.05; done', containers=[
        {"name": "bridge", "image": "sim:1", "command": ["/bin/sh", "-c", closing]}])
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert web.objects["output/bag"] == b"open\nclosed\n"


def test_what_an_image_runs_by_itself_is_stopped_and_heard_as_what_is_stated(
        runtime: KubernetesRuntime, cluster: Cluster, web: FakeWeb, tmp_path: Path) -> None:
    """It is looked for from the image's own folder, or in PATH, and deaf to all but SIGKILL."""
    place = tmp_path / "image"
    place.mkdir()
    (place / "entry.sh").write_text('#!/bin/sh\ntrap "" INT TERM; cat "$1"; while :; do sleep 0.05; done\n')
    (place / "entry.sh").chmod(0o755)
    (place / "words").write_text("from its own folder\n")
    cluster.images["own:1"] = Image(paths={"/app": place}, working_dir="/app")
    name = started(runtime, image="own:1", command=(), image_commands={"own:1": ["./entry.sh", "words"]},
                   stop={"grace_seconds": 0.4})
    until(lambda: web.log_end)
    assert runtime.stop(name, Stop().number())
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert (runtime.observe(name).exit_code, web.facts and web.facts["log"]["tail"]) == (137, "from its own folder\n")
    found = started(runtime, image="own:1", command=(), image_commands={"own:1": ["sh", "-c", "exit 6"]})
    until(lambda: runtime.observe(found).recorder == Recorder.DONE)
    assert runtime.observe(found).exit_code == 6


def test_what_an_image_runs_that_nobody_could_look_at_runs_alone(runtime: KubernetesRuntime) -> None:
    name = started(runtime, image="bare:1", command=(), stop={"grace_seconds": 0.1})
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert runtime.observe(name).exit_code == 4


def test_a_program_deaf_to_its_signal_is_killed_after_its_grace_and_the_recorder_has_its_time(
        runtime: KubernetesRuntime, web: FakeWeb) -> None:
    name = started(runtime, 'trap "" INT; echo deaf; while :; do sleep 0.05; done', stop={"grace_seconds": 0.4})
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    assert runtime.stop(name, Stop().number())
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert runtime.observe(name).exit_code == 137
    assert web.facts is not None
    assert web.facts["log"]["tail"] == "deaf\n"


def test_a_program_hears_that_it_is_to_end_though_its_recorder_is_down(
        runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime, 'trap "exit 5" INT; while :; do sleep 0.05; done')
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    for _ in range(3):  # so that it waits for its next start
        cluster.wait(str(name), lambda pod: "running" in state_of(pod, "recorder"))
        cluster.node.oom_kill(str(name), "recorder")
        cluster.wait(str(name), lambda pod: "running" not in state_of(pod, "recorder"))
    runtime.stop(name, Stop().number())
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).exit_code == 5


def test_what_runs_beside_a_program_that_was_killed_with_its_first_process_is_stopped(
        runtime: KubernetesRuntime, cluster: Cluster, web: FakeWeb) -> None:
    """As the kernel does with cgroup v2: nobody is left to make the stop file."""
    beside = {"name": "bridge", "image": "sim:1", "command": ("/bin/sh", "-c", "sleep 60")}
    name = started(runtime, "echo begun; sleep 60", containers=(beside,))
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    cluster.wait(str(name), lambda pod: "running" in state_of(pod, "bridge"))
    cluster.node.oom_kill(str(name))
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).recorder == Recorder.WORKING
    assert runtime.stop(name, Stop().number())
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert (runtime.observe(name).reason, web.facts is not None) == (Reason.OOM_KILLED, True)


def test_a_node_that_does_not_answer_is_lost_and_may_come_back_with_what_was_recorded(
        runtime: KubernetesRuntime, cluster: Cluster, web: FakeWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    name = started(runtime, 'echo data >"$SIMYARD_OUTPUT/notes.txt"; sleep 60')
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    cluster.node.lose()
    runtime.stop(name, Stop().number())
    assert runtime.observe(name).seen == Seen.RUNNING
    monkeypatch.setattr(status, "LOST_SECONDS", -3600)
    seen = runtime.observe(name)
    assert (seen.seen, seen.reason, seen.recorder) == (Seen.ENDED, Reason.NODE_LOST, Recorder.LOST)
    cluster.node.recover()
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert web.objects["output/notes.txt"] == b"data\n"


def asks_nothing(runtime: KubernetesRuntime, cluster: Cluster, name: Name) -> bool:
    """Whether to remove it costs no call; that it was let go reaches the runtime by its watch."""
    before = len(cluster.server.calls)
    runtime.remove(name)
    return len(cluster.server.calls) == before


def test_what_is_removed_is_asked_for_once_however_long_its_node_takes(
        runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime, "sleep 60")
    until(lambda: name in runtime.hints(0.1) and runtime.observe(name).seen == Seen.RUNNING)
    cluster.node.lose()
    runtime.remove(name)
    until(lambda: (runtime.hints(0.1), asks_nothing(runtime, cluster, name))[1])
    assert cluster.server.count("patch") == 1


def test_a_program_that_fills_its_disk_is_ended_before_the_node_evicts_it(
        runtime: KubernetesRuntime) -> None:
    name = started(runtime, 'dd if=/dev/zero of="$SIMYARD_OUTPUT/big" bs=1M count=8 2>/dev/null; sleep 60',
                   resources=Resources(disk_mb=4).model_dump())
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    seen = runtime.observe(name)
    assert (seen.exit_code, seen.reason) == (137, Reason.DISK_FULL)


def test_what_is_there_under_its_name_is_adopted_only_when_it_is_the_same(
        runtime: KubernetesRuntime, cluster: Cluster) -> None:
    new = run("sleep 60")
    runtime.start(new).go()
    uid = cluster.pod(str(new.name))["metadata"]["uid"]  # type: ignore[index]
    runtime.start(replace(new, token="another")).go()
    assert cluster.pod(str(new.name))["metadata"]["uid"] == uid  # type: ignore[index]
    with pytest.raises(Conflict):
        runtime.start(replace(new, seed=6)).go()
    runtime.kill(new.name)


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_a_create_whose_answer_is_lost_counts_when_the_pod_is_there(
        runtime: KubernetesRuntime, cluster: Cluster, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.runtimes.kubernetes.cluster.TIMEOUT_SECONDS", (1.0, 0.5))
    getattr(cluster.server.faults, fault)()
    name = started(runtime)
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert cluster.server.count("create") == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_create_that_was_not_done_may_be_tried_again(
        runtime: KubernetesRuntime, cluster: Cluster, code: int) -> None:
    cluster.server.faults.refuse(code, verb="create")
    new = run()
    with pytest.raises(Unavailable):
        runtime.start(new).go()
    seen = runtime.observe(new.name)
    assert (seen.seen, seen.never_started) == (Seen.ABSENT, True)
    assert seen.may_appear > module.GATE_SECONDS
    runtime.start(new).go()


def test_a_conflict_of_something_else_than_names_is_no_failure(
        runtime: KubernetesRuntime, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a quota that many ask at once."""
    def conflict(_: object) -> None:
        raise Conflict("Operation cannot be fulfilled on resourcequotas")

    monkeypatch.setattr(api, "create", conflict)
    with pytest.raises(Unavailable, match="resourcequotas"):
        started(runtime)


def test_a_change_meant_for_a_pod_that_was_there_before_leaves_another_as_it_is(
        runtime: KubernetesRuntime, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    name = started(runtime, "sleep 60")
    there = api.get(str(name))
    before = there | {"metadata": there["metadata"] | {"uid": str(uuid4())}}
    monkeypatch.setattr(runtime, "_find", lambda _: before)
    with pytest.raises(Conflict, match="field is immutable"):
        api.patch(str(name), {"metadata": {"uid": before["metadata"]["uid"], "finalizers": []}})
    runtime.remove(name)
    assert api.get(str(name))["metadata"]["finalizers"] == there["metadata"]["finalizers"]


def test_a_quota_that_is_full_is_no_failure(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    cluster.registry.pod_quotas["robot-sims"] = 0
    with pytest.raises(Unavailable, match="exceeded quota"):
        started(runtime)


@pytest.mark.parametrize("words", [
    "maximum memory usage per Container is 64Gi, but limit is 128Gi", 'violates PodSecurity "restricted:latest": x',
    'admission webhook "images.example.org" denied the request: not signed',
    "failed quota: robot-sims: must specify limits.memory for: main"])
def test_what_admission_says_of_this_very_pod_ends_it(
        runtime: KubernetesRuntime, cluster: Cluster, words: str) -> None:
    cluster.server.faults.refuse(403, f'pods "sim" is forbidden: {words}', verb="create")
    with pytest.raises(InvalidSpec, match=re.escape(words)):
        started(runtime)


@pytest.mark.parametrize("words", [
    "exceeded quota: robot-sims, requested: pods=1, used: pods=250, limited: pods=250",
    "status unknown for quota: robot-sims, resources: pods", "not yet ready to handle request",
    "unable to create new content in namespace robot-sims because it is being terminated",
    'error looking up service account robot-sims/default: serviceaccount "default" not found'])
def test_what_may_pass_is_tried_again_and_nothing_was_made(
        runtime: KubernetesRuntime, cluster: Cluster, words: str) -> None:
    cluster.server.faults.refuse(403, f'pods "sim" is forbidden: {words}', verb="create")
    with pytest.raises(NotMade, match=re.escape(words)):
        started(runtime)


def test_a_namespace_that_ends_or_is_gone_is_waited_for(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime, "exit 0")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    cluster.registry.delete("namespaces", "", "robot-sims")
    with pytest.raises(NotMade, match="is being terminated"):
        started(runtime)
    runtime.remove(name)
    cluster.server.until(lambda: cluster.registry.store.get("namespaces", "", "robot-sims") is None)
    with pytest.raises(NotMade, match='namespaces "robot-sims" not found') as caught:
        started(runtime)
    assert "SIM_NAMESPACE" in (caught.value.remedy or "")


def test_an_api_server_that_is_down_is_named(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    cluster.server.stop()
    with pytest.raises(NotMade, match="does not answer") as caught:
        started(runtime)
    assert "KUBECONFIG" in (caught.value.remedy or "")


def test_time_is_told_by_the_clock_that_wrote_the_pods_times(
        runtime: KubernetesRuntime, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: format_datetime(ahead, usegmt=True))
    list(runtime.names())
    assert timedelta(minutes=59) < api.now() - datetime.now(UTC) < timedelta(minutes=61)


def test_what_kubernetes_will_not_have_is_said_in_its_words(runtime: KubernetesRuntime) -> None:
    new = replace(run(), parameters={"text": "x" * 300_000})
    with pytest.raises(InvalidSpec, match="annotations"):
        runtime.start(new).go()


def test_a_missing_right_is_named(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    cluster.server.allowed = {("get", "pods")}
    with pytest.raises(Unavailable, match=r'cannot create resource "pods".*namespace "robot-sims"') as caught:
        started(runtime)
    assert "rbac.yaml" in (caught.value.remedy or "")


def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path) -> None:
    site = Site("test", "robot-sims", "worker:1", "http://web")
    runtime = KubernetesRuntime(site, Api(site.namespace, tmp_path / "no"))
    with pytest.raises(Unavailable, match="no way to the cluster"):
        runtime.observe(Name(uuid4(), 1))


def test_who_comes_late_through_the_gate_makes_nothing(
        runtime: KubernetesRuntime, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = runtime.start(run())
    monkeypatch.setattr(module, "GATE_SECONDS", -1)
    with pytest.raises(Unavailable):
        launch.go()
    assert cluster.pods() == []


def test_a_finalizer_keeps_the_end_until_it_was_taken_down(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime, "sleep 60")
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    runtime.stop(name, Stop().number())
    cluster.wait(str(name), lambda pod: pod["status"]["phase"] in ("Failed", "Succeeded"))
    assert runtime.observe(name).seen == Seen.ENDED
    runtime.remove(name)
    cluster.wait_until_gone(str(name))


def test_what_is_put_aside_stays_and_is_seen_no_more(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime, "sleep 60")
    runtime.quarantine(name)
    assert cluster.pod(str(name))["metadata"]["labels"][QUARANTINE] == "true"  # type: ignore[index]
    assert list(runtime.names()) == []
    runtime.kill(name)


def test_pods_of_another_installation_are_left_alone(
        runtime: KubernetesRuntime, cluster: Cluster, api: Api, web: FakeWeb) -> None:
    theirs = KubernetesRuntime(Site("other", "robot-sims", "worker:1", web.url), api)
    name = started(theirs, "sleep 60")
    assert (list(runtime.names()), runtime.observe(name).seen) == ([], Seen.ABSENT)
    assert not runtime.stop(name, 2)
    runtime.remove(name)
    assert "deletionTimestamp" not in cluster.pod(str(name))["metadata"]  # type: ignore[index]
    theirs.kill(name)


@pytest.mark.parametrize(("happens", "reason"), [
    ("oom_kill", Reason.OOM_KILLED), ("evict", Reason.EVICTED), ("preempt", Reason.PREEMPTED)])
def test_what_nodes_do_becomes_a_reason(
        runtime: KubernetesRuntime, cluster: Cluster, happens: str, reason: Reason) -> None:
    name = started(runtime, "sleep 60", limits=Limits(run_seconds=60).model_dump())
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    getattr(cluster.node, happens)(str(name))
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    seen = until(lambda: (seen := runtime.observe(name)).reason and seen)
    assert (seen.reason, bool(seen.message)) == (reason, True)


def test_what_a_node_forgot_of_an_end_is_told_as_it_tells_it(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    """A containerd that was restarted meanwhile, and a node that does not hand over the exit file either."""
    name = started(runtime, "sleep 0.3; exit 0")
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    cluster.node.forget_exit_code(str(name))
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).exit_code == 255


def test_an_image_that_is_not_there_is_a_trouble(runtime: KubernetesRuntime) -> None:
    name = started(runtime, image="missing:1", stop={"grace_seconds": 0.1})
    seen = until(lambda: (seen := runtime.observe(name)).reason and seen)
    assert (seen.seen, seen.reason) == (Seen.STARTING, Reason.IMAGE_PULL)
    runtime.stop(name, 2)
    until(lambda: runtime.observe(name).seen in (Seen.ENDED, Seen.ABSENT))


def test_a_pod_that_no_node_takes_is_stopped_at_once(runtime: KubernetesRuntime) -> None:
    name = started(runtime, node_selector={"disk": "none"})
    seen = until(lambda: (seen := runtime.observe(name)).reason and seen)
    assert (seen.seen, seen.reason) == (Seen.STARTING, Reason.UNSCHEDULABLE)
    runtime.stop(name, 2)
    until(lambda: runtime.observe(name).seen == Seen.ABSENT)
