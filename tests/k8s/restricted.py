"""Whether a pod keeps to the Pod Security profile `restricted`, and to what we demand on top. Pure: a pod's spec in,
sentences out. For what k8s/ renders, and for the pods that the runtime builds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
HOOKS = ("livenessProbe", "readinessProbe", "startupProbe")

Spec = Mapping[str, Any]


def violations(pod: Spec, *, token: bool = False, writable_root: bool = False) -> list[str]:
    """What is wrong with the spec of this pod, nothing when it is as it should be. `token`: it may speak to the
    Kubernetes API; `writable_root`: its containers may write outside their volumes."""
    found = [*_of_the_host(pod), *_of_the_pod(pod, token=token), *_of_volumes(pod.get("volumes") or [])]
    kinds = ("initContainers", "containers", "ephemeralContainers")
    for container in [each for kind in kinds for each in pod.get(kind) or []]:
        told = [*_of_the_profile(pod, container), *_of_ours(container, writable_root=writable_root)]
        found += [f"{container.get('name')}: {each}" for each in told]
    return found


def _of_the_host(pod: Spec) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{name} is set"
    if pod.get("hostUsers") is True:
        yield "hostUsers is set"


def _of_the_pod(pod: Spec, *, token: bool) -> Iterator[str]:
    security = pod.get("securityContext") or {}
    yield from (f"pod: {each}" for each in _of_a_context(security))
    for sysctl in security.get("sysctls") or []:
        if sysctl.get("name") not in SYSCTLS:
            yield f"the sysctl {sysctl.get('name')} is not safe"
    if pod.get("shareProcessNamespace"):
        yield "shareProcessNamespace lets one container read another's environment"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false"
    if not token and pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"


def _of_volumes(volumes: Sequence[Spec]) -> Iterator[str]:
    for volume in volumes:
        kinds = set(volume) - {"name"} or {"emptyDir"}
        if not kinds <= VOLUMES:
            yield f"the volume {volume.get('name')} is a {', '.join(sorted(kinds))}"
        if "emptyDir" in kinds and not (volume.get("emptyDir") or {}).get("sizeLimit"):
            yield f"the volume {volume.get('name')} has no sizeLimit"
        for source in (volume.get("projected") or {}).get("sources") or []:
            if "serviceAccountToken" in source:
                yield f"the volume {volume.get('name')} carries a service account's token"


def _of_the_profile(pod: Spec, container: Spec) -> Iterator[str]:
    """What `restricted` asks of a container, with what the pod says for all."""
    own, general = container.get("securityContext") or {}, pod.get("securityContext") or {}
    yield from _of_a_context(own)
    if own.get("privileged"):
        yield "it is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("procMount") not in (None, "Default"):
        yield "procMount is not Default"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "it does not drop ALL capabilities"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield "it adds capabilities"
    if own.get("runAsNonRoot", general.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    profile = own.get("seccompProfile", general.get("seccompProfile")) or {}
    if profile.get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile is neither RuntimeDefault nor Localhost"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield "it takes a port of the host"
    if any(_names_a_host(hook) for hook in _hooks(container)):
        yield "a probe or hook names a host"


def _of_a_context(context: Spec) -> Iterator[str]:
    """What holds for a pod's and a container's alike."""
    if context.get("runAsUser") == 0:
        yield "runAsUser is root"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "it is a process of the host"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield "AppArmor is off"
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield "seccomp is off"
    options = context.get("seLinuxOptions") or {}
    if (options.get("type") or "") not in SELINUX or options.get("user") or options.get("role"):
        yield "seLinuxOptions are its own"


def _of_ours(container: Spec, *, writable_root: bool) -> Iterator[str]:
    if not writable_root and (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    resources = container.get("resources") or {}
    for share in ("requests", "limits"):
        for what in ("cpu", "memory"):
            if not (resources.get(share) or {}).get(what):
                yield f"it has no {share}.{what}"


def _hooks(container: Spec) -> Iterator[Spec]:
    yield from (container[name] for name in HOOKS if container.get(name))
    yield from (hook for hook in (container.get("lifecycle") or {}).values() if isinstance(hook, Mapping))


def _names_a_host(hook: Spec) -> bool:
    return any((hook.get(kind) or {}).get("host") for kind in ("httpGet", "tcpSocket"))
