"""Pod Security admission at the level `restricted`, worded as Kubernetes words what it refuses."""

from collections.abc import Callable, Iterator
from typing import Any

Body = dict[str, Any]
_VOLUMES = {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
            "secret"}


def find_violations(spec: Body) -> list[str]:
    """What of a pod's spec the level `restricted` does not allow, in Kubernetes' order."""
    return [violation for check in _CHECKS for violation in check(spec)]


def _containers(spec: Body) -> list[Body]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def _context(container: Body) -> Body:
    context: Body = container.get("securityContext", {})
    return context


def _names(containers: list[Body]) -> str:
    word = "container" if len(containers) == 1 else "containers"
    return f"{word} " + ", ".join(f'"{container["name"]}"' for container in containers)


def _where(spec: Body, wrong: Callable[[Body], bool]) -> list[Body]:
    return [container for container in _containers(spec) if wrong(_context(container))]


def _host_namespaces(spec: Body) -> Iterator[str]:
    shared = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if shared:
        yield f"host namespaces ({', '.join(shared)})"


def _host_ports(spec: Body) -> Iterator[str]:
    for container in _containers(spec):
        if ports := [str(port["hostPort"]) for port in container.get("ports", []) if port.get("hostPort")]:
            yield f"hostPort ({_names([container])} uses hostPort {', '.join(ports)})"


def _privileged(spec: Body) -> Iterator[str]:
    if wrong := _where(spec, lambda context: bool(context.get("privileged"))):
        yield f"privileged ({_names(wrong)} must not set securityContext.privileged=true)"


def _escalation(spec: Body) -> Iterator[str]:
    if wrong := _where(spec, lambda context: context.get("allowPrivilegeEscalation") is not False):
        yield (f"allowPrivilegeEscalation != false ({_names(wrong)} must set "
               "securityContext.allowPrivilegeEscalation=false)")


def _capabilities(spec: Body) -> Iterator[str]:
    says = []
    if wrong := _where(spec, lambda context: "ALL" not in context.get("capabilities", {}).get("drop", [])):
        says.append(f'{_names(wrong)} must set securityContext.capabilities.drop=["ALL"]')
    if wrong := _where(spec, lambda context: bool(
            set(context.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"})):
        says.append(f"{_names(wrong)} must not include other capabilities in securityContext.capabilities.add")
    if says:
        yield f"unrestricted capabilities ({'; '.join(says)})"


def _volume_types(spec: Body) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        for source in set(volume) - _VOLUMES:
            yield f'restricted volume types (volume "{volume["name"]}" uses restricted volume type "{source}")'


def _non_root(spec: Body) -> Iterator[str]:
    pod = _context(spec).get("runAsNonRoot")
    explicit = _where(spec, lambda context: context.get("runAsNonRoot") is False)
    if explicit:
        yield f"runAsNonRoot != true ({_names(explicit)} must not set securityContext.runAsNonRoot=false)"
    elif pod is False:
        yield "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"
    elif not pod and (wrong := _where(spec, lambda context: context.get("runAsNonRoot") is None)):
        yield f"runAsNonRoot != true (pod or {_names(wrong)} must set securityContext.runAsNonRoot=true)"


def _root_user(spec: Body) -> Iterator[str]:
    if _context(spec).get("runAsUser") == 0:
        yield "runAsUser=0 (pod must not set runAsUser=0)"
    if wrong := _where(spec, lambda context: context.get("runAsUser") == 0):
        yield f"runAsUser=0 ({_names(wrong)} must not set runAsUser=0)"


def _seccomp(spec: Body) -> Iterator[str]:
    def is_good(context: Body) -> bool:
        return context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost")

    says = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    explicit = _where(spec, lambda context: "seccompProfile" in context and not is_good(context))
    unset = _where(spec, lambda context: "seccompProfile" not in context)
    if explicit:
        yield f"seccompProfile ({_names(explicit)} {says})"
    if unset and not is_good(_context(spec)):
        yield f"seccompProfile (pod or {_names(unset)} {says})"


_CHECKS: list[Callable[[Body], Iterator[str]]] = [
    _host_namespaces, _host_ports, _privileged, _escalation, _capabilities, _volume_types, _non_root, _root_user,
    _seccomp]
