"""What is made of a pod's status, as a table."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.domain.states import Reason
from workers.runtimes.base import Recorder, Seen
from workers.runtimes.kubernetes import status

DIGEST = f"sha256:{'ab' * 32}"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T11:00:00Z"}}


def ended(code: int, reason: str = "Completed", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message,
                           "finishedAt": "2026-01-01T11:30:00Z"}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def pod(main: dict[str, Any] | None = None, recorder: dict[str, Any] | None = None, *, node: str | None = "n",
        deleted: str | None = None, inputs: dict[str, Any] | None = None, beside: dict[str, Any] | None = None,
        **fields: Any) -> dict[str, Any]:
    inits = [{"name": name, "state": state} for name, state in (("recorder", recorder), ("inputs", inputs)) if state]
    mains = [{"name": name, "state": state} for name, state in (("main", main), ("bridge", beside)) if state]
    metadata = {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": 30} if deleted else {}
    return {"metadata": metadata | {"annotations": {status.GRACE: "10"}}, "spec": {"nodeName": node} if node else {},
            "status": {"phase": "Running", "initContainerStatuses": inits, "containerStatuses": mains, **fields}}


def disrupted(reason: str, at: str | None = "2026-01-01T11:29:00Z") -> list[dict[str, str | None]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "its words",
             "lastTransitionTime": at}]


UNSCHEDULABLE = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]


@pytest.mark.parametrize(("seen", "expected"), [
    (pod(node=None, phase="Pending"), (Seen.STARTING, None)),
    (pod(node=None, phase="Pending", conditions=UNSCHEDULABLE), (Seen.STARTING, Reason.UNSCHEDULABLE)),
    (pod(waiting("ContainerCreating"), RUNNING), (Seen.STARTING, None)),
    (pod(waiting("ErrImagePull", "no such image"), RUNNING), (Seen.STARTING, Reason.IMAGE_PULL)),
    (pod(waiting("PodInitializing"), waiting("ImagePullBackOff")), (Seen.STARTING, Reason.IMAGE_PULL)),
    (pod(waiting("CreateContainerConfigError"), RUNNING), (Seen.STARTING, Reason.RUNTIME_ERROR)),
    (pod(node=None, deleted="2026-01-01T11:59:00Z"), (Seen.ABSENT, None)),
    (pod(waiting("ContainerCreating"), deleted="2026-01-01T11:59:30Z"), (Seen.STARTING, None)),
    (pod(RUNNING, RUNNING), (Seen.RUNNING, None)),
    (pod(RUNNING, RUNNING, deleted="2026-01-01T11:59:59Z"), (Seen.RUNNING, None)),
    (pod(ended(0), RUNNING), (Seen.ENDED, None)),
    (pod(ended(0), RUNNING, beside=ended(137, "OOMKilled")), (Seen.ENDED, Reason.OOM_KILLED)),
    (pod(ended(137, "OOMKilled"), RUNNING), (Seen.ENDED, Reason.OOM_KILLED)),
    (pod(ended(0, "OOMKilled"), RUNNING), (Seen.ENDED, Reason.OOM_KILLED)),
    (pod(ended(128, "StartError", "no such file"), RUNNING), (Seen.ENDED, Reason.CRASHED)),
    (pod(ended(137), phase="Failed", reason="Evicted", message="disk"), (Seen.ENDED, Reason.EVICTED)),
    (pod(ended(137), phase="Failed", reason="DeadlineExceeded"), (Seen.ENDED, Reason.RUN_TIMEOUT)),
    (pod(ended(0), phase="Failed", reason="DeadlineExceeded"), (Seen.ENDED, None)),
    (pod(ended(0), RUNNING, conditions=disrupted("PreemptionByScheduler")), (Seen.ENDED, Reason.PREEMPTED)),
    (pod(ended(0), RUNNING, conditions=disrupted("PreemptionByScheduler", None)), (Seen.ENDED, Reason.PREEMPTED)),
    (pod(ended(0), RUNNING, conditions=disrupted("EvictionByEvictionAPI", "2026-01-01T11:31:00Z")), (Seen.ENDED, None)),
    (pod(ended(0), RUNNING, deleted="2026-01-01T11:29:00Z"), (Seen.ENDED, Reason.PREEMPTED)),
    (pod(ended(0), RUNNING, deleted="2026-01-01T11:59:00Z"), (Seen.ENDED, None)),
    (pod(waiting("PodInitializing"), inputs=ended(1, "Error", "gone"), phase="Failed"),
     (Seen.ENDED, Reason.RUNTIME_ERROR)),
    (pod(None, phase="Failed", reason="NodeLost"), (Seen.ENDED, Reason.NODE_LOST)),
    (pod(None, phase="Failed"), (Seen.ENDED, Reason.VANISHED)),
    # Asked to end at :10 (30 s before it is due), it has 10 s, and its node another minute to say so.
    (pod(RUNNING, deleted="2026-01-01T11:59:20Z", conditions=disrupted("DeletionByTaintManager")),
     (Seen.ENDED, Reason.NODE_LOST)),
    (pod(RUNNING, deleted="2026-01-01T11:59:20Z"), (Seen.ENDED, Reason.NODE_LOST)),
    (pod(waiting("ContainerCreating"), deleted="2026-01-01T11:59:20Z"), (Seen.ENDED, Reason.NODE_LOST)),
    (pod(RUNNING, deleted="2026-01-01T11:59:21Z"), (Seen.RUNNING, None)),
    (pod(node=None, deleted="2026-01-01T11:00:00Z"), (Seen.ABSENT, None)),
])
def test_what_is_seen_and_why(seen: dict[str, Any], expected: tuple[Seen, Reason | None]) -> None:
    observation = status.observe(seen, NOW)
    assert (observation.seen, observation.reason) == expected


NO_SHELL = ('failed to create containerd task: OCI runtime create failed: unable to start container process: error '
            'during container init: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown')


@pytest.mark.parametrize(("main", "beside", "message"), [
    (ended(128, "StartError", NO_SHELL), None, f"its image has no /bin/sh, which programs are run by: {NO_SHELL}"),
    (ended(1), ended(128, "StartError", NO_SHELL),
     f"bridge: its image has no /bin/sh, which programs are run by: {NO_SHELL}"),
    (ended(128, "StartError", 'exec "x": permission denied'), None,
     'it could not be executed: exec "x": permission denied'),
    (ended(0), ended(128, "StartError", NO_SHELL), None), (ended(1), ended(1), None)])
def test_a_container_that_could_not_be_begun_is_told_with_what_it_lacks(
        main: dict[str, Any], beside: dict[str, Any] | None, message: str | None) -> None:
    observation = status.observe(pod(main, RUNNING, beside=beside), NOW)
    assert (observation.message, observation.reason) == (message, message and Reason.CRASHED)


@pytest.mark.parametrize(("message", "code", "reason"), [
    ("exit 3\n", 3, None),
    ("exit 0", 0, None),
    ('exit 137\n{"reason": "disk_full", "message": "it wrote 9 MiB"}   ', 137, Reason.DISK_FULL),
    ("exit 7\nwhat a program wrote", 7, None),
    ('exit 7\n{"reason": "no such reason", "message": 1}', 7, None),
    ("exit 99999", 255, None),
    ("all is well", 255, None),
    ("exit -1", 255, None),
])
def test_the_exit_file_counts_more_than_the_node(message: str, code: int, reason: Reason | None) -> None:
    """A containerd that was restarted says 255 of what ended meanwhile."""
    observation = status.observe(pod(ended(255, "Unknown", message), RUNNING), NOW)
    assert (observation.exit_code, observation.reason) == (code, reason)


@pytest.mark.parametrize(("recorder", "phase", "expected"), [
    (RUNNING, "Running", Recorder.WORKING), (RUNNING, "Failed", Recorder.DEAD), (ended(0), "Running", Recorder.DONE),
    (ended(0), "Succeeded", Recorder.DONE), (ended(137), "Succeeded", Recorder.DEAD),
    (waiting("CrashLoopBackOff"), "Running", Recorder.DEAD), (None, "Failed", Recorder.DEAD)])
def test_what_has_become_of_the_recorder(
        recorder: dict[str, Any] | None, phase: str, expected: Recorder) -> None:
    assert status.observe(pod(ended(0), recorder, phase=phase), NOW).recorder == expected


def test_of_the_recorder_on_a_lost_node_nothing_is_known() -> None:
    assert status.observe(pod(RUNNING, RUNNING, deleted="2026-01-01T11:00:00Z"), NOW).recorder == Recorder.LOST
    assert status.observe(pod(ended(0), RUNNING, deleted="2026-01-01T11:00:00Z"), NOW).recorder == Recorder.WORKING


@pytest.mark.parametrize(("image_id", "expected"), [
    (f"docker.io/library/robot@{DIGEST}", DIGEST), (f"ghcr.io:443/us/robot@{DIGEST}", DIGEST),
    (f"docker-pullable://robot@{DIGEST}", DIGEST), (f"docker://{DIGEST}", DIGEST), (DIGEST, DIGEST), ("", None),
    (None, None), ("robot:1", None), ("sha256:abc", None), (f"{DIGEST}0", None)])
@pytest.mark.parametrize("state", [RUNNING, ended(0), ended(137, "OOMKilled")])
def test_what_ran_is_told_by_its_digest(state: dict[str, Any], image_id: str | None, expected: str | None) -> None:
    seen = pod(state, RUNNING, beside=RUNNING)
    [main, bridge] = seen["status"]["containerStatuses"]
    bridge["imageID"] = f"other@sha256:{'0' * 64}"
    if image_id is not None:
        main["imageID"] = image_id
    assert status.observe(seen, NOW).image_digest == expected


def test_kubernetes_own_words_are_told() -> None:
    assert status.observe(pod(waiting("ErrImagePull", "no such image"), RUNNING), NOW).message == \
        "ErrImagePull: no such image"
    assert status.observe(pod(node=None, conditions=UNSCHEDULABLE), NOW).message == "0/3 nodes"
    assert status.observe(pod(ended(1), phase="Failed", reason="Evicted", message="disk"), NOW).message == "disk"
