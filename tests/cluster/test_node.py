"""Pods live as measured on a real node, with real processes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.cluster import Cluster, Delays, Image, main_state
from tests.cluster.asking import LOOP, NS, RECORDER, UP, a_pod, ended, has_ended, running, wait_for, work
from tests.waiting import until


def test_a_pod_runs_its_init_containers_then_its_sidecar_then_main_and_ends(
        cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod(
        "a", f"{UP} cat /work/init >>/work/trace; echo main >>/work/trace; exit 3", init="echo init >/work/init",
        sidecar=RECORDER))

    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Failed"
    assert main_state(pod)["terminated"]["exitCode"] == 3
    assert main_state(pod)["terminated"]["reason"] == "Error"
    assert main_state(pod, "init")["terminated"]["reason"] == "Completed"
    assert main_state(pod, "recorder")["terminated"]["exitCode"] == 0
    assert (work(cluster, "a") / "trace").read_text().splitlines() == ["init", "main", "recorder told"]


def test_main_is_told_ended_while_the_phase_waits_for_the_sidecar(cluster: Cluster, api: client.CoreV1Api) -> None:
    slow = f"trap '{wait_for('/work/uploaded')} exit 0' TERM; echo up >/work/up; {LOOP}"
    api.create_namespaced_pod(NS, a_pod("a", UP, sidecar=slow, terminationGracePeriodSeconds=10_000))

    assert cluster.wait("a", ended())["exitCode"] == 0
    pod = cluster.wait("a", lambda pod: pod if ended()(pod) else None)
    assert pod["status"]["phase"] == "Running"
    assert main_state(pod, "recorder").get("running")
    (work(cluster, "a") / "uploaded").touch()

    assert cluster.wait("a", has_ended)["status"]["phase"] == "Succeeded"


def test_sidecars_are_stopped_in_reverse_order_after_main(cluster: Cluster, api: client.CoreV1Api) -> None:
    pod = a_pod("a", UP + wait_for("/work/first"), sidecar=RECORDER)
    first = {**pod["spec"]["initContainers"][0], "name": "first"}
    first["command"] = ["sh", "-c", f"trap 'echo first told >>/work/trace; exit 0' TERM; touch /work/first; {LOOP}"]
    pod["spec"]["initContainers"].insert(0, first)
    api.create_namespaced_pod(NS, pod)

    cluster.wait("a", has_ended)

    assert (work(cluster, "a") / "trace").read_text().splitlines() == ["recorder told", "first told"]


def test_a_deletion_while_the_sidecar_uploads_does_not_tell_it_twice(
        cluster: Cluster, api: client.CoreV1Api) -> None:
    uploads = f"trap 'echo told >>/work/trace; touch /work/uploading' TERM; echo up >/work/up; {LOOP}"
    api.create_namespaced_pod(NS, a_pod("a", UP, sidecar=uploads, metadata={"finalizers": ["simyard.io/record"]},
                                        terminationGracePeriodSeconds=10))
    cluster.wait("a", ended())
    until((work(cluster, "a") / "uploading").exists)

    api.delete_namespaced_pod("a", NS, grace_period_seconds=5)
    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Succeeded"
    assert (work(cluster, "a") / "trace").read_text() == "told\n"


def test_a_sidecar_past_its_grace_is_killed_and_the_pod_succeeds(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod(
        "a", UP, sidecar=f"trap : TERM; echo up >/work/up; {LOOP}", terminationGracePeriodSeconds=3))

    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Succeeded"
    assert main_state(pod, "recorder")["terminated"]["exitCode"] == 137


def test_a_sidecar_that_ends_while_main_runs_is_started_again(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod(
        "a", wait_for("/work/up"), sidecar=f"[ -e /work/once ] && {{ {RECORDER}; }}; touch /work/once; exit 1"))

    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Succeeded"
    assert pod["status"]["initContainerStatuses"][0]["restartCount"] == 1


def test_a_sidecar_is_not_started_again_when_main_ends_during_its_back_off(tmp_path: Path) -> None:
    with Cluster(tmp_path, images={"sim:1": Image()}, delays=Delays(back_off=(0.0, 3600))) as cluster:
        cluster.registry.create("pods", NS, a_pod(
            "a", wait_for("/work/go"), sidecar="echo x >>/work/runs; exit 1"))
        cluster.wait("a", lambda pod: main_state(pod, "recorder").get("waiting", {}).get("reason")
                     == "CrashLoopBackOff" and running()(pod))
        (work(cluster, "a") / "go").touch()

        pod = cluster.wait("a", has_ended)

        assert pod["status"]["phase"] == "Succeeded"
        assert main_state(pod, "recorder")["terminated"]["exitCode"] == 1
        assert (work(cluster, "a") / "runs").read_text() == "x\nx\n"


def test_a_failed_init_container_fails_the_pod_and_main_never_runs(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", "touch /work/ran", init="exit 4"))

    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Failed"
    assert main_state(pod)["waiting"]["reason"] == "PodInitializing"
    assert main_state(pod, "init")["terminated"]["exitCode"] == 4
    assert not (work(cluster, "a") / "ran").exists()


def test_a_deletion_tells_main_at_once_and_the_sidecar_after_main(cluster: Cluster, api: client.CoreV1Api) -> None:
    main = f"trap 'echo main told >>/work/trace; exit 5' TERM; {UP} touch /work/ready; {LOOP}"
    api.create_namespaced_pod(NS, a_pod("a", main, sidecar=RECORDER, metadata={"finalizers": ["simyard.io/record"]},
                                        terminationGracePeriodSeconds=600))
    cluster.wait("a", running())
    trace = work(cluster, "a") / "trace"
    until((work(cluster, "a") / "ready").exists)

    api.delete_namespaced_pod("a", NS)
    pod = cluster.wait("a", has_ended)

    assert trace.read_text().splitlines() == ["main told", "recorder told"]
    assert main_state(pod)["terminated"]["exitCode"] == 5
    assert pod["metadata"]["deletionTimestamp"]


def test_a_sidecars_hook_runs_as_soon_as_the_pod_is_deleted(cluster: Cluster, api: client.CoreV1Api) -> None:
    pod = a_pod("a", f"trap '{wait_for('/work/noticed')} exit 0' TERM; {UP} touch /work/ready; {LOOP}",
                sidecar=RECORDER, terminationGracePeriodSeconds=10_000)
    pod["spec"]["initContainers"][0]["lifecycle"] = {
        "preStop": {"exec": {"command": ["sh", "-c", "touch /work/noticed"]}}}
    api.create_namespaced_pod(NS, pod)
    cluster.wait("a", running())
    until((work(cluster, "a") / "ready").exists)

    api.delete_namespaced_pod("a", NS)

    cluster.wait_until_gone("a")


def test_a_main_without_a_handler_ignores_sigterm_and_is_killed_after_the_grace(
        cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod(
        "a", main={"command": ["sleep", "1000"]}, metadata={"finalizers": ["simyard.io/record"]},
        terminationGracePeriodSeconds=2))
    cluster.wait("a", running())

    api.delete_namespaced_pod("a", NS)

    assert main_state(cluster.wait("a", has_ended))["terminated"]["exitCode"] == 137


def test_a_finalizer_keeps_the_status_and_the_name_until_it_is_taken_away(
        cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", "exit 7", metadata={"finalizers": ["simyard.io/record"]}))
    cluster.wait("a", has_ended)

    api.delete_namespaced_pod("a", NS)
    with pytest.raises(ApiException) as refused:
        api.create_namespaced_pod(NS, a_pod("a"))
    kept = api.read_namespaced_pod("a", NS)
    api.patch_namespaced_pod("a", NS, {"metadata": {"finalizers": None}})

    assert json.loads(refused.value.body)["message"] == 'object is being deleted: pods "a" already exists'
    assert kept.status.container_statuses[0].state.terminated.exit_code == 7
    assert cluster.pod("a") is None


def test_after_a_forced_deletion_two_pods_of_a_name_run_at_once(tmp_path: Path) -> None:
    with Cluster(tmp_path, images={"sim:1": Image()}, delays=Delays(forced=3600)) as cluster:
        cluster.registry.create("pods", NS, a_pod("a", main={"command": ["sleep", "1000"]}))
        cluster.wait("a", running())
        first = cluster.node.life("a").mains[0].process
        cluster.registry.delete("pods", NS, "a", grace_seconds=0)
        cluster.registry.create("pods", NS, a_pod("a", main={"command": ["sleep", "1000"]}))
        cluster.wait("a", running())

        assert first is not None
        assert Path(f"/proc/{first.pid}").exists()

    assert not Path(f"/proc/{first.pid}").exists()


def test_an_unknown_image_is_tried_for_ever_while_the_sidecar_runs(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", sidecar=RECORDER, main={"image": "nowhere:1"}))

    def waits(reason: str) -> Any:
        return lambda pod: main_state(pod).get("waiting", {}).get("reason") == reason and pod

    cluster.wait("a", waits("ErrImagePull"))
    pod = cluster.wait("a", waits("ImagePullBackOff"))
    assert pod["status"]["phase"] == "Pending"
    assert main_state(pod, "recorder").get("running")
    cluster.images["nowhere:1"] = Image()

    assert cluster.wait("a", has_ended)["status"]["phase"] == "Succeeded"


def test_a_command_that_is_missing_is_a_start_error(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", main={"command": ["no-such-program"]}))

    pod = cluster.wait("a", has_ended)

    assert pod["status"]["phase"] == "Failed"
    state = main_state(pod)["terminated"]
    assert (state["exitCode"], state["reason"]) == (128, "StartError")
    assert '"no-such-program": executable file not found in $PATH' in state["message"]


def test_what_the_nodes_know_nothing_of_is_said_in_the_status(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", main={"readinessProbe": {"exec": {"command": ["true"]}}}))

    cluster.wait("a", lambda pod: "readinessProbe" in main_state(pod).get("waiting", {}).get("message", ""))


def test_an_image_without_a_command_is_never_made_a_container(cluster: Cluster, api: client.CoreV1Api) -> None:
    cluster.images["own:1"] = Image(entrypoint=["sh", "-c"], command=["exit 6"])
    pods = [a_pod("bare", main={"image": "sim:1"}), a_pod("own", main={"image": "own:1"})]
    for pod in pods:
        del pod["spec"]["containers"][0]["command"]
        api.create_namespaced_pod(NS, pod)

    assert main_state(cluster.wait("own", has_ended))["terminated"]["exitCode"] == 6
    cluster.wait("bare", lambda pod: main_state(pod).get("waiting", {}).get("reason") == "CreateContainerError")


def test_a_signal_that_ends_main_is_told_as_128_more(cluster: Cluster, api: client.CoreV1Api) -> None:
    script = "import os; os.kill(os.getpid(), 11)"
    api.create_namespaced_pod(NS, a_pod("a", main={"command": ["python", "-c", script]}))

    assert cluster.wait("a", ended())["exitCode"] == 139


def test_nothing_that_main_left_behind_outlives_it(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", "setsid sleep 1000 & echo $! >/work/pid"))

    cluster.wait("a", has_ended)

    pid = (work(cluster, "a") / "pid").read_text().strip()
    assert pid.isdigit()
    assert not Path(f"/proc/{pid}").exists()


def test_no_process_outlives_the_cluster(tmp_path: Path) -> None:
    with Cluster(tmp_path, images={"sim:1": Image()}) as cluster:
        cluster.registry.create("pods", NS, a_pod(
            "a", f"trap : TERM; setsid sleep 1000 & echo $! >/work/pid; touch /work/up; {LOOP}"))
        cluster.wait("a", running())
        until((work(cluster, "a") / "up").exists)
        pid = (work(cluster, "a") / "pid").read_text().strip()
        assert Path(f"/proc/{pid}").exists()

    assert not Path(f"/proc/{pid}").exists()


def test_an_annotation_arrives_byte_for_byte_as_a_file(cluster: Cluster, api: client.CoreV1Api) -> None:
    text = json.dumps({"x": "ü" * 100_000}, ensure_ascii=False)
    pod = a_pod("a", "cat /parameters/p.json", metadata={"annotations": {"simyard.io/p": text}})
    pod["spec"]["volumes"].append({"name": "p", "downwardAPI": {"items": [
        {"path": "p.json", "fieldRef": {"fieldPath": "metadata.annotations['simyard.io/p']"}}]}})
    pod["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "p", "mountPath": "/parameters/p.json", "subPath": "p.json"}]
    api.create_namespaced_pod(NS, pod)
    cluster.wait("a", has_ended)

    assert api.read_namespaced_pod_log("a", NS, _preload_content=False).data == text.encode()


def test_a_container_has_its_environment_and_no_other(
        cluster: Cluster, api: client.CoreV1Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_TEST", "1")
    env = [{"name": "OUT", "value": "/work/out"}, {"name": "FILE", "value": "$(OUT)/x"},
           {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
           {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    api.create_namespaced_pod(NS, a_pod("a", main={"env": env, "command": ["env"]}))
    cluster.wait("a", has_ended)

    log = api.read_namespaced_pod_log("a", NS, _preload_content=False).data.decode()
    seen = dict(line.split("=", 1) for line in log.splitlines())
    assert seen["FILE"] == str(work(cluster, "a") / "out" / "x")
    assert (seen["NAME"], seen["IP"]) == ("a", "127.0.0.1")
    assert "OF_THE_TEST" not in seen


def test_a_folder_mounted_at_tmp_leaves_other_paths_alone(cluster: Cluster, api: client.CoreV1Api) -> None:
    pod = a_pod("a", "echo /tmp/x /var/tmp /tmpfile /work/x")
    pod["spec"]["volumes"].append({"name": "tmp", "emptyDir": {}})
    pod["spec"]["containers"][0]["volumeMounts"] = [
        *pod["spec"]["containers"][0]["volumeMounts"], {"name": "tmp", "mountPath": "/tmp"}]
    api.create_namespaced_pod(NS, pod)
    cluster.wait("a", has_ended)

    volumes = work(cluster, "a").parent
    assert api.read_namespaced_pod_log("a", NS, _preload_content=False).data.decode().split() == [
        str(volumes / "tmp" / "x"), "/var/tmp", "/tmpfile", str(volumes / "work" / "x")]


def test_python_is_the_one_that_runs_the_tests(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", main={"command": ["python", "-c", "import sys; print(sys.prefix)"]}))
    cluster.wait("a", has_ended)

    prefix = api.read_namespaced_pod_log("a", NS, _preload_content=False).data.decode().strip()
    assert Path(prefix).samefile(sys.prefix)


def test_the_termination_message_is_cut_at_4096_bytes(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", "head -c 5000 /dev/zero | tr '\\0' x >/dev/termination-log; exit 1"))

    assert cluster.wait("a", ended())["message"] == "x" * 4096


def test_logs_can_be_followed_until_the_container_ends(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, a_pod("a", f"echo one; {wait_for('/work/go')} echo two"))
    cluster.wait("a", running())

    answer = api.read_namespaced_pod_log("a", NS, follow=True, _preload_content=False)
    lines = []
    for line in answer:
        lines.append(line)
        (work(cluster, "a") / "go").touch()

    assert b"".join(lines) == b"one\ntwo\n"


def test_a_log_is_the_newest_file_and_its_tail_can_be_asked_for(cluster: Cluster, api: client.CoreV1Api) -> None:
    cluster.server.log_limit = 10
    api.create_namespaced_pod(NS, a_pod("a", "printf 'line-0001\\nline-0002\\nab\\ncd\\n'", sidecar=RECORDER))
    cluster.wait("a", has_ended)

    def read(**options: Any) -> bytes:
        data: bytes = api.read_namespaced_pod_log("a", NS, _preload_content=False, **options).data
        return data

    assert read() == b"ab\ncd\n"
    assert read(tail_lines=1) == b"cd\n"
    with pytest.raises(ApiException) as refused:
        read(container="nobody")
    assert json.loads(refused.value.body)["message"] == "container nobody is not valid for pod a"
