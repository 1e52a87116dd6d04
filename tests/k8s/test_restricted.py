import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s.rendering import EVERYTHING, Object, everything, pods
from tests.k8s.restricted import violations

GOOD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "initContainers": [],
    "containers": [{
        "name": "main",
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    }],
    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
}


def _in(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(pod: dict[str, Any]) -> None:
        place: Any = pod
        for step in path[:-1]:
            place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    return change


MAIN = ("containers", 0)
SECURITY = (*MAIN, "securityContext")
FAULTS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    *((_in(name, value=True), name) for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers",
                                                 "shareProcessNamespace")),
    (_in("enableServiceLinks", value=True), "enableServiceLinks"),
    (_in("automountServiceAccountToken", value=None), "automountServiceAccountToken"),
    (_in("securityContext", "runAsNonRoot", value=None), "runAsNonRoot"),
    (_in(*SECURITY, "runAsNonRoot", value=False), "runAsNonRoot"),
    (_in("securityContext", "runAsUser", value=0), "root"),
    (_in(*SECURITY, "runAsUser", value=0), "root"),
    (_in("securityContext", "seccompProfile", value=None), "seccomp"),
    (_in(*SECURITY, "seccompProfile", value={"type": "Unconfined"}), "seccomp"),
    (_in("securityContext", "seccompProfile", value={"type": "Unconfined"}), "seccomp is off"),
    (_in(*SECURITY, "appArmorProfile", value={"type": "Unconfined"}), "AppArmor"),
    (_in("securityContext", "seLinuxOptions", value={"type": "spc_t"}), "seLinux"),
    (_in(*SECURITY, "seLinuxOptions", value={"user": "system_u"}), "seLinux"),
    (_in("securityContext", "sysctls", value=[{"name": "kernel.msgmax", "value": "1"}]), "sysctl"),
    (_in("securityContext", "windowsOptions", value={"hostProcess": True}), "host"),
    (_in(*SECURITY, "privileged", value=True), "privileged"),
    (_in(*SECURITY, "allowPrivilegeEscalation", value=None), "allowPrivilegeEscalation"),
    (_in(*SECURITY, "procMount", value="Unmasked"), "procMount"),
    (_in(*SECURITY, "capabilities", value={"drop": ["NET_RAW"]}), "drop ALL"),
    (_in(*SECURITY, "capabilities", "add", value=["SYS_ADMIN"]), "adds"),
    (_in(*SECURITY, "readOnlyRootFilesystem", value=None), "readOnlyRootFilesystem"),
    (_in(*MAIN, "ports", value=[{"containerPort": 80, "hostPort": 80}]), "port of the host"),
    (_in(*MAIN, "livenessProbe", value={"httpGet": {"host": "10.0.0.1", "port": 80}}), "names a host"),
    (_in(*MAIN, "lifecycle", value={"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}), "names a host"),
    *((_in(*MAIN, "resources", share, what, value=None), f"{share}.{what}")
      for share in ("requests", "limits") for what in ("cpu", "memory")),
    *((_in("volumes", 0, value={"name": "v", kind: {}}), "the volume v")
      for kind in ("hostPath", "nfs", "emptyDir", "iscsi")),
    (_in("volumes", 0, value={"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}), "token"),
]


def test_a_good_pod_has_no_violation() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_each_fault_is_found_in_containers_and_in_init_containers(number: int) -> None:
    change, word = FAULTS[number]
    pod = copy.deepcopy(GOOD)
    change(pod)
    assert [each for each in violations(pod) if word in each]
    pod["initContainers"], pod["containers"] = pod["containers"], copy.deepcopy(GOOD["containers"])
    assert [each for each in violations(pod) if word in each]


def test_what_may_be_allowed_is_allowed_by_name_alone() -> None:
    pod = copy.deepcopy(GOOD)
    del pod["automountServiceAccountToken"], pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    pod["containers"][0]["securityContext"]["capabilities"]["add"] = ["NET_BIND_SERVICE"]
    assert violations(pod, token=True, writable_root=True) == []
    assert len(violations(pod)) == 2


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_pod_we_deploy_is_restricted(name: str) -> None:
    """S3-17, S0-65, S2-14: and has requests and limits."""
    speaks_to_kubernetes = {"robot-worker", "robot-watcher", "metrics-server"}
    objects: dict[Any, Object] = everything()[name]
    found = {pod: violations(template["spec"], token=pod in speaks_to_kubernetes)
             for pod, template in pods(objects).items()}
    assert {pod: told for pod, told in found.items() if told} == {}
