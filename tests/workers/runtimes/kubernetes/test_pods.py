"""The pod of an attempt, compared with what it should be."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.domain.specs import Container, Limits, Program, Resources, Stop
from tests.k8s.restricted import violations
from workers.runtimes.base import Name, Run
from workers.runtimes.kubernetes.pods import GRACE, GRANT, SPEC, Site, manifest

SITE = Site("robot", "robot-sims", "robot-sim-worker:v1", "http://robot-backend-service.robot:8000")
JOB, SIMULATION = UUID(int=7), UUID(int=9)
PROGRAM = Program(
    command=("drive", "--echo", "$(HOME) $x"), image="ghcr.io/us/robot:1", env={"LOG": "debug"},
    resources=Resources(cpu=1.5, memory_mb=512, disk_mb=100), stop=Stop(grace_seconds=2.5),
    limits=Limits(start_seconds=100, run_seconds=60, collect_seconds=30))
RUN = Run(Name(JOB, 2), "instance", PROGRAM, {"speed": 1.5}, 11, "secret-token", SIMULATION)


def pod(**changes: Any) -> dict[str, Any]:
    return manifest(replace(RUN, program=PROGRAM.model_copy(update=changes)), SITE)


def container(of: dict[str, Any], name: str) -> dict[str, Any]:
    spec = of["spec"]
    return next(each for each in spec["containers"] + spec["initContainers"] if each["name"] == name)


def test_what_it_is_known_by() -> None:
    metadata = pod()["metadata"]
    assert {name: metadata[name] for name in ("name", "namespace", "finalizers", "labels")} == {
        "name": f"sim-{JOB.hex}-a2", "namespace": "robot-sims", "finalizers": ["simyard.io/recorded"],
        "labels": {
            "app.kubernetes.io/name": "simulator", "app.kubernetes.io/part-of": "simyard",
            "app.kubernetes.io/managed-by": "simyard", "simyard.io/installation": "robot",
            "simyard.io/job": str(JOB), "simyard.io/attempt": "2", "simyard.io/kind": "instance",
            "simyard.io/network": "none", "simyard.io/simulation": str(SIMULATION)}}
    assert json.loads(metadata["annotations"]["simyard.io/parameters"]) == {"speed": 1.5}


def test_the_pod_of_a_program() -> None:
    spec = pod()["spec"]
    main, recorder = spec.pop("containers")[0], spec.pop("initContainers")[0]
    assert spec == {
        "restartPolicy": "Never", "automountServiceAccountToken": False, "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsGroup": 10000, "fsGroup": 10000,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 33, "activeDeadlineSeconds": 253,
        "volumes": [
            {"name": "attempt", "emptyDir": {"sizeLimit": "100Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "100Mi"}}, {"name": "scratch", "emptyDir": {}},
            {"name": "parameters", "downwardAPI": {"items": [{
                "path": "parameters.json",
                "fieldRef": {"fieldPath": "metadata.annotations['simyard.io/parameters']"}}]}},
            {"name": "grant", "downwardAPI": {"items": [{
                "path": "grant.json", "fieldRef": {"fieldPath": "metadata.annotations['simyard.io/grant']"}}]}}]}
    script = main["command"].pop(2)
    assert "$$control" in script and "$$$$ " in script
    assert main == {
        "name": "main", "image": "ghcr.io/us/robot:1",
        "command": ["/bin/sh", "-c", "main", "/simyard/attempt", "INT", "13", "/simyard/attempt",
                    "drive", "--echo", "$$(HOME) $$x"],
        "env": [
            {"name": "LOG", "value": "debug"}, {"name": "HOME", "value": "/tmp"},
            {"name": "SIMYARD_JOB_ID", "value": str(JOB)}, {"name": "SIMYARD_ATTEMPT", "value": "2"},
            {"name": "SIMYARD_SEED", "value": "11"},
            {"name": "SIMYARD_PARAMETERS", "value": "/simyard/parameters/parameters.json"},
            {"name": "SIMYARD_OUTPUT", "value": "/simyard/attempt/output"},
            {"name": "SIMYARD_INPUTS", "value": "/simyard/attempt/inputs"},
            {"name": "ROS_DOMAIN_ID", "value": "1"},
            {"name": "ROS_AUTOMATIC_DISCOVERY_RANGE", "value": "LOCALHOST"}],
        "resources": {"requests": {"cpu": "1500m", "memory": "512Mi"}, "limits": {"cpu": "1500m", "memory": "512Mi"}},
        "securityContext": {"runAsUser": 10001, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "lifecycle": {"preStop": {"exec": {"command": [
            "/bin/sh", "-c", "umask 007; mkdir -p /simyard/attempt/.simyard; : >>/simyard/attempt/.simyard/stop"]}}},
        "volumeMounts": [
            {"name": "attempt", "mountPath": "/simyard/attempt"},
            {"name": "parameters", "mountPath": "/simyard/parameters"}, {"name": "tmp", "mountPath": "/tmp"}]}
    assert recorder == {
        "name": "recorder", "image": "robot-sim-worker:v1", "restartPolicy": "Always",
        "command": ["python", "-P", "-m", "workers.recorder", "/simyard/attempt/.simyard", "pod",
                    "/simyard/grant/grant.json"],
        "env": [{"name": "LANG", "value": "C.UTF-8"}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {"runAsUser": 10002, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "lifecycle": {"preStop": {"exec": {"command": [
            "/bin/sh", "-c", "umask 007; mkdir -p /simyard/attempt/.simyard; : >>/simyard/attempt/.simyard/leave"]}}},
        "volumeMounts": [
            {"name": "attempt", "mountPath": "/simyard/attempt"}, {"name": "grant", "mountPath": "/simyard/grant"},
            {"name": "scratch", "mountPath": "/tmp"}]}


def test_only_the_recorder_is_given_the_token() -> None:
    whole = pod()
    assert json.loads(whole["metadata"]["annotations"][GRANT]) == {
        "job": str(JOB), "attempt": 2, "kind": "instance", "token": "secret-token",
        "address": {"url": "http://robot-backend-service.robot:8000"}, "memory_mb": None, "disk_mb": 100,
        "grace_seconds": 2.5, "beside": []}
    assert "secret-token" not in json.dumps(whole["spec"])
    assert "grant" not in [mount["name"] for mount in container(whole, "main")["volumeMounts"]]


def test_the_same_run_has_the_same_digest_whatever_its_token() -> None:
    again = manifest(replace(RUN, token="another"), SITE)
    assert again["metadata"]["annotations"][SPEC] == pod()["metadata"]["annotations"][SPEC]
    assert pod(image="other")["metadata"]["annotations"][SPEC] != pod()["metadata"]["annotations"][SPEC]


def test_without_a_command_the_image_says_what_runs_and_where_it_begins() -> None:
    stated = pod()
    own = pod(command=(), image_commands={PROGRAM.image: ("go", "$x"), "other": ("no",)})
    main, usual = container(own, "main"), container(stated, "main")
    assert main["command"] == [*usual["command"][:7], ".", "go", "$$x"]
    assert main["lifecycle"] == usual["lifecycle"]
    assert own["metadata"]["annotations"][GRACE] == stated["metadata"]["annotations"][GRACE]


def test_a_command_that_is_stated_counts_more_than_what_the_image_says() -> None:
    assert container(pod(image_commands={PROGRAM.image: ("go",)}), "main") == container(pod(), "main")


def test_where_nobody_knows_what_the_image_says_it_runs_alone() -> None:
    main = container(pod(command=()), "main")
    assert "command" not in main and "lifecycle" not in main


def test_it_says_in_what_time_a_living_node_would_have_ended_it() -> None:
    """What its image runs may be deaf, and so be given all the time that there is."""
    assert [pod(command=command)["metadata"]["annotations"][GRACE] for command in (("drive",), ())] == ["3", "33"]


def test_more_containers_share_the_attempt_and_have_what_they_state() -> None:
    beside = container(pod(containers=(Container(name="bridge", image="b:1", command=("run",), env={"A": "1"},
                                                 resources=Resources(memory_mb=64)),)), "bridge")
    assert (beside["image"], beside["command"][3], beside["command"][-1]) == ("b:1", "bridge", "run")
    assert beside["env"][0] == {"name": "A", "value": "1"}
    assert beside["resources"] == {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
    assert beside["volumeMounts"] == container(pod(), "main")["volumeMounts"]


def test_the_recorder_waits_for_those_beside_that_tell_of_their_end() -> None:
    whole = pod(containers=(Container(name="bridge", image="b:1", command=("run",)), Container(name="db", image="d:1"),
                            Container(name="own", image="o:1")), image_commands={"o:1": ("go",)})
    assert json.loads(whole["metadata"]["annotations"][GRANT])["beside"] == ["bridge", "own"]


def test_inputs_are_brought_before_the_program_starts() -> None:
    whole = pod(inputs=(UUID(int=1),))
    first, second = whole["spec"]["initContainers"]
    assert (first["name"], second["name"]) == ("recorder", "inputs")
    assert "restartPolicy" not in second
    assert second["command"][3:] == ["workers.inputs", "/simyard/attempt/.simyard", "/simyard/grant/grant.json"]
    # They are not what it wrote, so they do not count against its disk.
    assert {"name": "inputs", "emptyDir": {}} in whole["spec"]["volumes"]
    mount = {"name": "inputs", "mountPath": "/simyard/attempt/inputs"}
    assert mount in second["volumeMounts"]
    assert mount | {"readOnly": True} in container(whole, "main")["volumeMounts"]


def test_what_the_operator_allowed_is_asked_for() -> None:
    whole = pod(resources=Resources(gpu=2, gpu_type="L4", shm_mb=64), node_selector={"disk": "ssd"},
                tolerations=({"key": "gpu"},), pull_secret="registry", writable_root=True, network="internet")
    spec, main = whole["spec"], container(whole, "main")
    assert spec["nodeSelector"] == {"disk": "ssd", "nvidia.com/gpu.product": "L4"}
    assert (spec["tolerations"], spec["imagePullSecrets"]) == ([{"key": "gpu"}], [{"name": "registry"}])
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}} in spec["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in main["volumeMounts"]
    assert main["securityContext"]["readOnlyRootFilesystem"] is False
    assert whole["metadata"]["labels"]["simyard.io/network"] == "internet"


def test_our_own_programs_run_in_our_image_and_know_their_grant_and_address() -> None:
    program = Program(command=("/usr/bin/python3", "-P", "-m", "player"))
    whole = manifest(replace(RUN, kind="playback", simulation=None, program=program), SITE)
    main = container(whole, "main")
    assert main["image"] == "robot-sim-worker:v1"
    assert main["command"][-6:] == ["python", "-P", "-m", "player", "/simyard/grant/grant.json", "$(SIMYARD_POD_IP)"]
    assert main["env"][-1] == {"name": "SIMYARD_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    assert "grant" in [mount["name"] for mount in main["volumeMounts"]]
    assert "activeDeadlineSeconds" not in whole["spec"]


RESOURCES = st.builds(Resources, cpu=st.none() | st.floats(0.01, 64), memory_mb=st.none() | st.integers(1, 65536),
                      gpu=st.integers(0, 8), shm_mb=st.none() | st.integers(1, 1024),
                      disk_mb=st.none() | st.integers(1, 10**6))
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
WORDS = st.lists(TEXT, max_size=4).map(tuple)
PROGRAMS = st.builds(
    Program, command=WORDS, image=st.just("robot:1"),
    image_commands=st.dictionaries(st.sampled_from(["robot:1", "b:1"]), st.just(("go", "$x"))), resources=RESOURCES,
    network=st.sampled_from(["none", "cluster", "internet"]),
    env=st.dictionaries(st.from_regex("[A-Z]{1,5}", fullmatch=True), TEXT, max_size=3),
    containers=st.lists(st.builds(Container, name=st.from_regex("[a-z]{1,9}", fullmatch=True), image=st.just("b:1"),
                                  command=st.none() | WORDS, resources=RESOURCES), max_size=2).map(tuple),
    inputs=st.lists(st.uuids(), max_size=2).map(tuple), writable_root=st.booleans(),
    pull_secret=st.none() | st.just("registry"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAMS, st.sampled_from(["instance", "playback", "ingest"]))
def test_every_pod_is_admitted_where_restricted_is_enforced(program: Program, kind: str) -> None:
    whole = manifest(replace(RUN, program=program, kind=kind), SITE)
    told = violations(whole["spec"], writable_root=program.writable_root)
    # Where a template states no limit, there is none but the namespace's own.
    assert [each for each in told if not any(limit in each for limit in ("sizeLimit", "requests.", "limits."))] == []
