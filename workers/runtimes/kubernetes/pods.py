"""The pod of an attempt: a run in, a manifest out. Pure. Called by the runtime; tests compare it with literal ones.

One bare pod an attempt, which no controller starts twice. The recorder is a native sidecar (an init container that is
kept running) under another user of the same group: it alone has the attempt's token, and it outlives the program, which
is the end that counts. The program gets no credential of any kind.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from shared.domain.specs import Container, Program, Resources
from workers.runtimes.base import Run

Body = dict[str, Any]

MAIN, RECORDER, INPUTS = "main", "recorder", "inputs"
FINALIZER = "simyard.io/recorded"  # keeps a pod's last status until it was taken down
INSTALLATION, JOB, ATTEMPT = "simyard.io/installation", "simyard.io/job", "simyard.io/attempt"
QUARANTINE = "simyard.io/quarantine"
PARAMETERS, GRANT, SPEC = "simyard.io/parameters", "simyard.io/grant", "simyard.io/spec"
GRACE = "simyard.io/grace-seconds"  # in which its program ends when it is asked to

PYTHON = "python"  # of our own image
ATTEMPT_FOLDER = "/simyard/attempt"
CONTROL = f"{ATTEMPT_FOLDER}/.simyard"
INPUTS_FOLDER = f"{ATTEMPT_FOLDER}/inputs"
GRANT_FILE = "/simyard/grant/grant.json"
PARAMETERS_FILE = "/simyard/parameters/parameters.json"
SCRATCH, SHARED_MEMORY = "/tmp", "/dev/shm"  # noqa: S108 - places in a container
PROGRAM_USER, RECORDER_USER, GROUP = 10001, 10002, 10000
INSTANCE = "instance"
STEPS_A_SECOND = 5  # in which main.sh counts its grace
MARGIN_SECONDS = 60

# Run by the kubelet as soon as a pod is to end, before it sends SIGTERM, to which first processes may be deaf: a
# program's container is told by `stop`, the recorder by `leave`.
HOOK = f"umask 007; mkdir -p {CONTROL}; : >>{CONTROL}/"


@dataclass(frozen=True)
class Site:
    """What is the same for all pods of an installation: its name, the pods' namespace, the image of our own programs,
    and the URL where recorders find web."""

    installation: str
    namespace: str
    recorder_image: str
    web_url: str

    @property
    def selector(self) -> str:
        """Picks this installation's pods, but for those that are put aside."""
        return f"{INSTALLATION}={self.installation},!{QUARANTINE}"


def manifest(run: Run, site: Site) -> Body:
    """The pod. The same run makes the same, but for the token, which its digest leaves out."""
    pod: Body = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": str(run.name), "namespace": site.namespace, "labels": _labels(run, site),
            "annotations": {PARAMETERS: json.dumps(run.parameters), GRACE: str(_ends_within(run.program))},
            "finalizers": [FINALIZER]},
        "spec": _spec(run, site)}
    digest = hashlib.sha256(json.dumps(pod, sort_keys=True).encode()).hexdigest()
    pod["metadata"]["annotations"] |= {SPEC: digest, GRANT: json.dumps(_grant(run, site))}
    return pod


def _labels(run: Run, site: Site) -> dict[str, str]:
    labels = {
        "app.kubernetes.io/name": "simulator" if run.kind == INSTANCE else run.kind,
        "app.kubernetes.io/part-of": "simyard", "app.kubernetes.io/managed-by": "simyard",
        INSTALLATION: site.installation, JOB: str(run.name.job), ATTEMPT: str(run.name.attempt),
        "simyard.io/kind": run.kind, "simyard.io/network": run.program.network}
    return labels | ({"simyard.io/simulation": str(run.simulation)} if run.simulation else {})


def _grant(run: Run, site: Site) -> Body:
    """What the recorder may know. Memory is the kernel's to hold, so it is told of the disk alone; of the containers
    beside the main one it waits for those that have a first process of ours to say that they have ended."""
    program = run.program
    return {"job": str(run.name.job), "attempt": run.name.attempt, "kind": run.kind, "token": run.token,
            "address": {"url": site.web_url}, "memory_mb": None, "disk_mb": program.resources.disk_mb,
            "grace_seconds": program.stop.grace_seconds,
            "beside": [each.name for each in program.containers if _command(each, program)]}


def _spec(run: Run, site: Site) -> Body:
    program = run.program
    limits, whole_grace = program.limits, _grace(program) + _upload(program)
    spec: Body = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsGroup": GROUP, "fsGroup": GROUP,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": whole_grace,
        "initContainers": [_recorder(site), *([_inputs(site)] if program.inputs else [])],
        "containers": [_main(run, site), *(_program(each, run) for each in program.containers)],
        "volumes": _volumes(program)}
    if limits.run_seconds is not None:  # a backstop behind our own limits
        spec["activeDeadlineSeconds"] = math.ceil(
            limits.start_seconds + limits.run_seconds + whole_grace + MARGIN_SECONDS)
    selector = program.node_selector | (
        {"nvidia.com/gpu.product": program.resources.gpu_type} if program.resources.gpu_type else {})
    for field, value in (("nodeSelector", selector), ("tolerations", list(program.tolerations)),
                         ("imagePullSecrets", [{"name": program.pull_secret}] if program.pull_secret else [])):
        if value:
            spec[field] = value
    return spec


def _recorder(site: Site) -> Body:
    return {
        "name": RECORDER, "image": site.recorder_image, "restartPolicy": "Always",
        "command": [PYTHON, "-P", "-m", "workers.recorder", CONTROL, "pod", GRANT_FILE],
        "env": [{"name": "LANG", "value": "C.UTF-8"}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": _confined(RECORDER_USER, writable_root=False),
        "lifecycle": _told_by("leave"),
        "volumeMounts": [_mount("attempt", ATTEMPT_FOLDER), *_OWN_MOUNTS]}


def _inputs(site: Site) -> Body:
    return {
        "name": INPUTS, "image": site.recorder_image,
        "command": [PYTHON, "-P", "-m", "workers.inputs", CONTROL, GRANT_FILE],
        "env": [{"name": "LANG", "value": "C.UTF-8"}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": _confined(RECORDER_USER, writable_root=False),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [_mount("attempt", ATTEMPT_FOLDER), _mount("inputs", INPUTS_FOLDER), *_OWN_MOUNTS]}


def _main(run: Run, site: Site) -> Body:
    """The program; of our own programs, which are asked to work on what is not trusted, the one with a grant."""
    program, ours = run.program, run.kind != INSTANCE
    main = Container.model_construct(
        name=MAIN, image=site.recorder_image if ours else program.image or "", env=program.env,
        command=(PYTHON, *program.command[1:]) if ours else program.command, resources=program.resources)
    container = _program(main, run)
    if ours:
        container["command"] += [GRANT_FILE, "$(SIMYARD_POD_IP)"]
        container["env"].append({"name": "SIMYARD_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
        container["volumeMounts"].append(_mount("grant", "/simyard/grant"))
    return container


def _program(wanted: Container, run: Run) -> Body:
    """A container as somebody wants it. What its image runs by itself begins in the image's own folder; where nobody
    could look what that is, it runs alone, and is stopped by SIGTERM."""
    stop = run.program.stop
    body: Body = {
        "name": wanted.name, "image": wanted.image,
        "env": [{"name": key, "value": _literal(value)} for key, value in (wanted.env | _variables(run)).items()],
        "resources": _resources(wanted.resources),
        "securityContext": _confined(PROGRAM_USER, writable_root=run.program.writable_root),
        "volumeMounts": [_mount("attempt", ATTEMPT_FOLDER), _mount("parameters", "/simyard/parameters"),
                         _mount("tmp", SCRATCH)]}
    if run.program.inputs:
        body["volumeMounts"].append(_mount("inputs", INPUTS_FOLDER) | {"readOnly": True})
    if run.program.resources.shm_mb:
        body["volumeMounts"].append(_mount("shm", SHARED_MEMORY))
    if command := _command(wanted, run.program):
        body["lifecycle"] = _told_by("stop")
        words = ["/bin/sh", "-c", _first_process(), wanted.name, ATTEMPT_FOLDER, stop.signal.removeprefix("SIG"),
                 str(math.ceil(stop.grace_seconds * STEPS_A_SECOND)), ATTEMPT_FOLDER if wanted.command else ".",
                 *command]
        body["command"] = [_literal(word) for word in words]
    return body


def _command(wanted: Container, program: Program) -> tuple[str, ...]:
    """What is run under main.sh; empty where only the image knows."""
    return wanted.command or program.image_commands.get(wanted.image, ())


def _variables(run: Run) -> dict[str, str]:
    return {
        "HOME": SCRATCH,
        "SIMYARD_JOB_ID": str(run.name.job), "SIMYARD_ATTEMPT": str(run.name.attempt), "SIMYARD_SEED": str(run.seed),
        "SIMYARD_PARAMETERS": PARAMETERS_FILE, "SIMYARD_OUTPUT": f"{ATTEMPT_FOLDER}/output",
        "SIMYARD_INPUTS": INPUTS_FOLDER,
        "ROS_DOMAIN_ID": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}  # each pod is a network of its own


def _resources(wanted: Resources) -> Body:
    """Requests are limits, so that a neighbour cannot take what was promised; a core that is not stated is shared."""
    stated = {}
    if wanted.cpu is not None:
        stated["cpu"] = f"{math.ceil(wanted.cpu * 1000)}m"
    if wanted.memory_mb is not None:
        stated["memory"] = f"{wanted.memory_mb}Mi"
    if wanted.gpu:
        stated["nvidia.com/gpu"] = str(wanted.gpu)
    return {"requests": {"cpu": "100m"} | stated, "limits": stated}


def _volumes(program: Program) -> list[Body]:
    """What the program writes is held to its disk_mb; what it was given and what is made of its recordings has its own
    place, where it does not count."""
    held = {"sizeLimit": f"{program.resources.disk_mb}Mi"} if program.resources.disk_mb else {}
    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{program.resources.shm_mb}Mi"}}
    return [{"name": "attempt", "emptyDir": held}, {"name": "tmp", "emptyDir": held},
            {"name": "scratch", "emptyDir": {}}, *([{"name": "inputs", "emptyDir": {}}] if program.inputs else []),
            _annotated("parameters", "parameters.json", PARAMETERS), _annotated("grant", "grant.json", GRANT),
            *([shm] if program.resources.shm_mb else [])]


def _annotated(name: str, path: str, annotation: str) -> Body:
    field = {"fieldPath": f"metadata.annotations['{annotation}']"}
    return {"name": name, "downwardAPI": {"items": [{"path": path, "fieldRef": field}]}}


def _confined(user: int, *, writable_root: bool) -> Body:
    return {"runAsUser": user, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": not writable_root,
            "capabilities": {"drop": ["ALL"]}}


def _mount(name: str, path: str) -> Body:
    return {"name": name, "mountPath": path}


_OWN_MOUNTS = [_mount("grant", "/simyard/grant"), _mount("scratch", SCRATCH)]


def _told_by(file: str) -> Body:
    return {"preStop": {"exec": {"command": ["/bin/sh", "-c", HOOK + file]}}}


def _grace(program: Program) -> int:
    return math.ceil(program.stop.grace_seconds)


def _upload(program: Program) -> int:
    return math.ceil(program.limits.collect_seconds)


def _ends_within(program: Program) -> int:
    """Seconds after which nothing of it runs that was told to end. What is not under main.sh may take all there is."""
    main = program.command or program.image_commands.get(program.image or "")
    under_main_sh = all([main, *(_command(each, program) for each in program.containers)])
    return _grace(program) + (0 if under_main_sh else _upload(program))


def _literal(text: str) -> str:
    """The text as it comes out of the kubelet, which reads $(NAME) as a variable and $$ as $."""
    return text.replace("$", "$$")


@cache
def _first_process() -> str:
    return Path(__file__).with_name("main.sh").read_text()
