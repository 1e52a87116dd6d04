"""What a pod's status says of its attempt. Pure. The main container's own end is the end of the program, not the pod's
phase, which waits for the recorder; the exit file that the container left counts more than what the node says."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.states import Reason
from workers.runtimes.base import Observation, Recorder, Seen
from workers.runtimes.kubernetes.pods import INPUTS, MAIN, RECORDER, Body

# A create whose caller has died may still reach the API server in this time.
MAY_APPEAR_SECONDS = 30.0
LOST_SECONDS = 60.0
TROUBLES = {
    "ErrImagePull": Reason.IMAGE_PULL, "ImagePullBackOff": Reason.IMAGE_PULL, "InvalidImageName": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL, "RegistryUnavailable": Reason.IMAGE_PULL,
    "ImageInspectError": Reason.IMAGE_PULL, "CreateContainerConfigError": Reason.RUNTIME_ERROR,
    "CreateContainerError": Reason.RUNTIME_ERROR}
DISRUPTIONS = {
    "PreemptionByScheduler": Reason.PREEMPTED, "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST, "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED}
PHASE_REASONS = {
    "Evicted": Reason.EVICTED, "Preempting": Reason.PREEMPTED, "NodeLost": Reason.NODE_LOST,
    "NodeShutdown": Reason.EVICTED, "Terminated": Reason.EVICTED, "DeadlineExceeded": Reason.RUN_TIMEOUT,
    "UnexpectedAdmissionError": Reason.RUNTIME_ERROR, "OutOfcpu": Reason.UNSCHEDULABLE,
    "OutOfmemory": Reason.UNSCHEDULABLE}

_DIGEST = re.compile(r"\b(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")
ABSENT = Observation(Seen.ABSENT, never_started=True, may_appear=MAY_APPEAR_SECONDS)


def observe(pod: Body, now: datetime) -> Observation:
    """The attempt of which this is the pod, as of `now` (aware)."""
    status = pod.get("status", {})
    main = _state(status.get("containerStatuses"), MAIN)
    is_over = status.get("phase") in ("Succeeded", "Failed")
    if "terminated" in main or is_over:
        return _ended(pod, main.get("terminated", {}))
    if _is_lost(pod, now):
        return Observation(Seen.ENDED, reason=Reason.NODE_LOST, message=_words(pod) or "its node is gone")
    if "running" in main:
        return Observation(Seen.RUNNING, recorder=Recorder.WORKING, image_digest=_image_digest(status))
    if "deletionTimestamp" in pod["metadata"] and not pod["spec"].get("nodeName"):
        return Observation(Seen.ABSENT, never_started=True)  # no node ever had it, and none will
    reason, message = _trouble(status)
    return Observation(Seen.STARTING, reason=reason, message=message, recorder=Recorder.WORKING)


def _ended(pod: Body, main: Body) -> Observation:
    status = pod.get("status", {})
    code, reason, message = _exit_file(main)
    if code is None:
        code = main.get("exitCode")
    if reason is None:
        reason, message = _cause(pod, main, failed=code != 0)
    if reason is None and not main:  # a phase without a word of how the program ended
        reason, message = Reason.VANISHED, _words(pod) or "its node does not say how it ended"
    return Observation(Seen.ENDED, exit_code=code, reason=reason, message=message, image_digest=_image_digest(status),
                       recorder=_recorder(status, is_over=status.get("phase") in ("Succeeded", "Failed")))


def _exit_file(main: Body) -> tuple[int | None, Reason | None, str | None]:
    """What main.sh left as the container's last message: "exit N", and on further lines the limit that ended it. It
    lies within the program's reach, so it may say anything."""
    first, _, rest = str(main.get("message") or "").partition("\n")
    word, _, number = first.partition(" ")
    if word != "exit" or not number.isdecimal() or len(number) > 3:
        return None, None, None
    try:
        limit: Any = json.loads(rest)
        return int(number), Reason(limit["reason"]), str(limit["message"])[:500]
    except (ValueError, TypeError, KeyError):
        return int(number), None, None


def _cause(pod: Body, main: Body, *, failed: bool) -> tuple[Reason | None, str | None]:
    """What ended it other than itself, in Kubernetes' words."""
    status = pod.get("status", {})
    for each in status.get("containerStatuses", []):
        if each.get("state", {}).get("terminated", {}).get("reason") == "OOMKilled":
            return Reason.OOM_KILLED, f"{each['name']} used more memory than its limit"
    if disruption := _disruption(pod, main):
        return disruption, _words(pod) or "its pod was deleted"
    if failed and status.get("reason") in PHASE_REASONS:
        return PHASE_REASONS[status["reason"]], _words(pod)
    if main.get("reason") in ("StartError", "ContainerCannotRun"):
        return Reason.CRASHED, f"it could not be executed: {main.get('message', '')}"[:500]
    inputs = _state(status.get("initContainerStatuses"), INPUTS).get("terminated", {})
    if inputs.get("exitCode"):
        return Reason.RUNTIME_ERROR, f"its inputs were not brought: {inputs.get('message', '')}"[:500]
    return None, None


def _disruption(pod: Body, main: Body) -> Reason | None:
    """Who had it stopped before it ended, for a program that is asked to stop may well exit with 0."""
    metadata, target = pod["metadata"], _condition(pod.get("status", {}), "DisruptionTarget")
    ended = main.get("finishedAt")
    if target.get("reason") in DISRUPTIONS and (ended is None or target.get("lastTransitionTime", "") <= ended):
        return DISRUPTIONS[target["reason"]]
    if "deletionTimestamp" not in metadata:
        return None
    asked = datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(
        seconds=metadata.get("deletionGracePeriodSeconds", 0))
    return Reason.PREEMPTED if ended is None or asked <= datetime.fromisoformat(ended) else None


def _image_digest(status: Body) -> str | None:
    """Of what the main container runs: that of the manifest, or of an image from no registry that of its contents.
    Nodes write `docker.io/library/x@sha256:...`, `docker-pullable://x@sha256:...`, `docker://sha256:...` or the bare
    digest."""
    for each in status.get("containerStatuses", []):
        if each["name"] == MAIN and (match := _DIGEST.search(each.get("imageID", ""))):
            return match[0]
    return None


def _recorder(status: Body, *, is_over: bool) -> Recorder:
    """A sidecar that waits to be started again when the program has ended never is."""
    state = _state(status.get("initContainerStatuses"), RECORDER)
    if "running" in state and not is_over:
        return Recorder.WORKING
    return Recorder.DONE if state.get("terminated", {}).get("exitCode") == 0 else Recorder.DEAD


def _trouble(status: Body) -> tuple[Reason | None, str | None]:
    """What keeps it from starting."""
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return Reason.UNSCHEDULABLE, scheduled.get("message")
    for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = each.get("state", {}).get("waiting", {})
        if waiting.get("reason") in TROUBLES:
            return TROUBLES[waiting["reason"]], f"{waiting['reason']}: {waiting.get('message', '')}"[:500]
    return None, None


def _is_lost(pod: Body, now: datetime) -> bool:
    """Deleted because its node does not answer, and its grace long over: nobody will say how it ended."""
    due = pod["metadata"].get("deletionTimestamp")
    if due is None or (now - datetime.fromisoformat(due)).total_seconds() < LOST_SECONDS:
        return False
    status = pod.get("status", {})
    return status.get("reason") == "NodeLost" or (
        DISRUPTIONS.get(_condition(status, "DisruptionTarget").get("reason", "")) == Reason.NODE_LOST)


def _words(pod: Body) -> str | None:
    """Kubernetes' own words for how a pod ended."""
    status = pod.get("status", {})
    disruption = _condition(status, "DisruptionTarget")
    said = status.get("message") or disruption.get("message") or status.get("reason") or disruption.get("reason")
    return said and str(said)[:500]


def _condition(status: Body, kind: str) -> dict[str, Any]:
    return next((each for each in status.get("conditions", []) if each.get("type") == kind), {})


def _state(statuses: list[Body] | None, name: str) -> Body:
    return next((each.get("state", {}) for each in statuses or [] if each["name"] == name), {})


def clock() -> datetime:
    """Now, to compare with what the API server wrote."""
    return datetime.now(UTC)
