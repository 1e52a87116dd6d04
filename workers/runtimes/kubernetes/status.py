"""What a pod's status says of its attempt. Pure. The main container's own end is the end of the program, not the pod's
phase, which waits for the recorder; the exit file that the container left counts more than what the node says."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

from shared.domain.states import Reason
from workers.runtimes.base import Observation, Recorder, Seen
from workers.runtimes.kubernetes.pods import GRACE, INPUTS, MAIN, RECORDER, Body

# A create may still be carried out in this time from its gate on: it is sent within 10 s, its bytes are on their way
# for as long as a connection is tried for, and an API server gives a request up after a minute (--request-timeout).
MAY_APPEAR_SECONDS = 75.0
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
    """The attempt of which this is the pod, as of `now` by the API server's clock (aware)."""
    status = pod.get("status", {})
    main = _state(status.get("containerStatuses"), MAIN)
    is_over = status.get("phase") in ("Succeeded", "Failed")
    if "terminated" in main or is_over:
        return _ended(pod, main.get("terminated", {}))
    if _is_lost(pod, now):
        return Observation(Seen.ENDED, reason=Reason.NODE_LOST, recorder=Recorder.LOST,
                           message=_words(pod) or "its node does not answer")
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
    if failed and (why := _not_executed(status)):
        return Reason.CRASHED, why
    inputs = _state(status.get("initContainerStatuses"), INPUTS).get("terminated", {})
    if inputs.get("exitCode"):
        return Reason.RUNTIME_ERROR, f"its inputs were not brought: {inputs.get('message', '')}"[:500]
    return None, None


def _not_executed(status: Body) -> str | None:
    """Why one of its containers was never begun. Nodes name what they execute, which is the shell that runs main.sh."""
    for each in status.get("containerStatuses", []):
        end = each.get("state", {}).get("terminated", {})
        if end.get("reason") not in ("StartError", "ContainerCannotRun"):
            continue
        said = str(end.get("message", ""))
        lacks_shell = '"/bin/sh"' in said and "no such file" in said.lower()
        why = "its image has no /bin/sh, which programs are run by" if lacks_shell else "it could not be executed"
        return (f"{why}: {said}" if each["name"] == MAIN else f"{each['name']}: {why}: {said}")[:500]
    return None


def _disruption(pod: Body, main: Body) -> Reason | None:
    """Who had it stopped before it ended, for a program that is asked to stop may well exit with 0."""
    # These times are whole seconds: of what happened in the same one, nobody knows which was first. It counts as
    # stopped, for to run it again costs less than to take half a recording for a whole one.
    target, ended = _condition(pod.get("status", {}), "DisruptionTarget"), main.get("finishedAt")
    if target.get("reason") in DISRUPTIONS and (ended is None or (target.get("lastTransitionTime") or "") <= ended):
        return DISRUPTIONS[target["reason"]]
    asked = _asked_to_end(pod)
    if asked is None:
        return None
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
    """Whoever had it deleted: a kubelet that lives would have ended the program by now, and said so."""
    asked = _asked_to_end(pod)
    if asked is None or not pod["spec"].get("nodeName"):
        return False
    grace = float(pod["metadata"].get("annotations", {}).get(GRACE, 0))
    return (now - asked).total_seconds() >= grace + LOST_SECONDS


def _asked_to_end(pod: Body) -> datetime | None:
    """When it was deleted, by the API server's clock; None when it was not."""
    metadata = pod["metadata"]
    if "deletionTimestamp" not in metadata:
        return None
    return datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(
        seconds=metadata.get("deletionGracePeriodSeconds", 0))


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
