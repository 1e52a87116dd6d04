"""What makes a pod invalid, beyond the types of its fields: those rules of Kubernetes that a manifest of ours could
break."""

from collections.abc import Iterator
from typing import Any

from tests.cluster.defaults import quantity
from tests.cluster.names import (
    DNS_LABEL,
    DNS_SUBDOMAIN,
    ENV_NAME,
    LABEL_VALUE,
    check_metadata,
    check_qualified,
    invalid_value,
    required,
)
from tests.cluster.refusals import Cause

Body = dict[str, Any]
_ENV_PATHS = {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
              "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
_FILE_PATHS = {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"}
_LONGEST_SECONDS = 2**31 - 1


def check_pod(pod: Body) -> list[Cause]:
    """Everything that is wrong with a new pod."""
    spec = pod.get("spec", {})
    return [*check_metadata(pod["metadata"], DNS_SUBDOMAIN), *_check_spec(spec), *_check_volumes(spec),
            *_check_containers(spec)]


def check_range(field: str, value: int | None, least: int) -> Iterator[Cause]:
    if value is not None and not least <= value <= _LONGEST_SECONDS:
        yield invalid_value(field, value, f"must be between {least} and {_LONGEST_SECONDS}, inclusive")


def _check_word(field: str, value: str | None, *words: str) -> Iterator[Cause]:
    if value is not None and value not in words:
        supported = ", ".join(f'"{word}"' for word in words)
        yield Cause(field, f'Unsupported value: "{value}": supported values: {supported}', "FieldValueNotSupported")


def _check_spec(spec: Body) -> Iterator[Cause]:
    yield from _check_word("spec.restartPolicy", spec.get("restartPolicy"), "Always", "OnFailure", "Never")
    yield from check_range("spec.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1)
    yield from check_range("spec.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"), 0)
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from check_range(f"spec.securityContext.{field}", spec.get("securityContext", {}).get(field), 0)
    if hostname := spec.get("hostname"):
        yield from DNS_LABEL.check("spec.hostname", hostname)
    for key, value in spec.get("nodeSelector", {}).items():
        yield from check_qualified("spec.nodeSelector", key)
        yield from LABEL_VALUE.check("spec.nodeSelector", value)
    for index, toleration in enumerate(spec.get("tolerations", [])):
        yield from _check_toleration(f"spec.tolerations[{index}]", toleration)


def _check_toleration(field: str, toleration: Body) -> Iterator[Cause]:
    operator, effect = toleration.get("operator"), toleration.get("effect")
    yield from _check_word(f"{field}.operator", operator, "Equal", "Exists", "Lt", "Gt")
    yield from _check_word(f"{field}.effect", effect, "NoSchedule", "PreferNoSchedule", "NoExecute")
    if not toleration.get("key") and operator != "Exists":
        yield invalid_value(f"{field}.operator", operator or "", "operator must be Exists when `key` is empty, which "
                            'means "match all values and all keys"')
    if operator == "Exists" and toleration.get("value"):
        yield invalid_value(f"{field}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
    if "tolerationSeconds" in toleration and effect != "NoExecute":
        yield invalid_value(f"{field}.effect", effect or "", "effect must be 'NoExecute' when `tolerationSeconds` is "
                            "set")


def _check_volumes(spec: Body) -> Iterator[Cause]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes", [])):
        field = f"spec.volumes[{index}]"
        yield from _check_name(field, volume, names)
        sources = [name for name in volume if name != "name"]  # none is an emptyDir
        for source in sources[1:]:
            yield Cause(f"{field}.{source}", "Forbidden: may not specify more than 1 volume type",
                        "FieldValueForbidden")
        yield from _check_quantity(f"{field}.emptyDir.sizeLimit", volume.get("emptyDir", {}).get("sizeLimit"))
        yield from _check_files(f"{field}.downwardAPI", volume.get("downwardAPI", {}))


def _check_name(field: str, named: Body, seen: set[str]) -> Iterator[Cause]:
    name = named.get("name")
    if not name:
        yield required(f"{field}.name")
        return
    yield from DNS_LABEL.check(f"{field}.name", name)
    if name in seen:
        yield Cause(f"{field}.name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    seen.add(name)


def _check_files(field: str, volume: Body) -> Iterator[Cause]:
    """Of a downwardAPI volume."""
    for index, item in enumerate(volume.get("items", [])):
        inner = f"{field}.items[{index}]"
        yield from _check_relative(f"{inner}.path", item.get("path", ""))
        yield from _check_mode(f"{inner}.mode", item.get("mode"))
        if "fieldRef" in item:
            yield from _check_field_path(f"{inner}.fieldRef", item["fieldRef"], _FILE_PATHS)
        elif "resourceFieldRef" not in item:
            yield Cause(inner, "Required value: one of fieldRef and resourceFieldRef is required", "FieldValueRequired")
    yield from _check_mode(f"{field}.defaultMode", volume.get("defaultMode"))


def _check_mode(field: str, mode: int | None) -> Iterator[Cause]:
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid_value(field, mode, "must be a number between 0 and 0777 (octal), both inclusive")


def _check_relative(field: str, path: str) -> Iterator[Cause]:
    if not path:
        yield required(field)
    elif path.startswith("/"):
        yield invalid_value(field, path, "must be a relative path")
    elif ".." in path.split("/"):
        yield invalid_value(field, path, "must not contain '..'")


def _check_field_path(field: str, reference: Body, paths: set[str]) -> Iterator[Cause]:
    path = reference.get("fieldPath", "")
    plain, bracket, _ = path.partition("['")
    subscripted = bracket and path.endswith("']") and plain in ("metadata.labels", "metadata.annotations")
    if not path:
        yield required(f"{field}.fieldPath")
    elif path not in paths and not subscripted:
        yield invalid_value(f"{field}.fieldPath", path,
                            f"error converting fieldPath: field label not supported: {path}")


def _check_quantity(field: str, text: str | None) -> Iterator[Cause]:
    try:
        if text is not None and quantity(text) < 0:
            yield invalid_value(field, text, "must be greater than or equal to 0")
    except ValueError:
        yield invalid_value(field, text, "quantities must match the regular expression "
                            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")


def _check_containers(spec: Body) -> Iterator[Cause]:
    names: set[str] = set()
    volumes = {volume.get("name") for volume in spec.get("volumes", [])}
    if not spec.get("containers"):
        yield required("spec.containers")
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group, [])):
            field = f"spec.{group}[{index}]"
            yield from _check_name(field, container, names)
            yield from _check_container(field, container, volumes)
            yield from _check_policies(field, container, is_init=group == "initContainers")


def _check_container(field: str, container: Body, volumes: set[Any]) -> Iterator[Cause]:
    if not container.get("image"):
        yield required(f"{field}.image")
    elif container["image"] != container["image"].strip():
        yield invalid_value(f"{field}.image", container["image"], "must not have leading or trailing whitespace")
    yield from _check_mounts(f"{field}.volumeMounts", container.get("volumeMounts", []), volumes)
    for index, variable in enumerate(container.get("env", [])):
        yield from _check_variable(f"{field}.env[{index}]", variable)
    for index, port in enumerate(container.get("ports", [])):
        if not 1 <= port.get("containerPort", 0) <= 65535:
            yield invalid_value(f"{field}.ports[{index}].containerPort", port.get("containerPort", 0),
                                "must be between 1 and 65535, inclusive")
    yield from _check_resources(f"{field}.resources", container.get("resources", {}))
    for user in ("runAsUser", "runAsGroup"):
        yield from check_range(f"{field}.securityContext.{user}", container.get("securityContext", {}).get(user), 0)


def _check_policies(field: str, container: Body, is_init: bool) -> Iterator[Cause]:
    policy = container.get("restartPolicy")
    if policy is not None and not is_init:
        yield Cause(f"{field}.restartPolicy", "Forbidden: may not be set for non-init containers",
                    "FieldValueForbidden")
    yield from _check_word(f"{field}.restartPolicy", policy, "Always")
    if is_init and policy is None:
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if name in container:
                yield Cause(f"{field}.{name}", "Forbidden: may not be set for init containers without "
                            "restartPolicy=Always", "FieldValueForbidden")
    for hook, handler in container.get("lifecycle", {}).items():
        if hook != "stopSignal":
            yield from _check_handler(f"{field}.lifecycle.{hook}", handler)
    yield from _check_word(f"{field}.imagePullPolicy", container.get("imagePullPolicy"),
                           "Always", "IfNotPresent", "Never")
    yield from _check_word(f"{field}.terminationMessagePolicy", container.get("terminationMessagePolicy"),
                           "File", "FallbackToLogsOnError")


def _check_handler(field: str, handler: Body) -> Iterator[Cause]:
    if not handler:
        yield Cause(field, "Required value: must specify a handler type", "FieldValueRequired")
    elif "exec" in handler and not handler["exec"].get("command"):
        yield required(f"{field}.exec.command")


def _check_mounts(field: str, mounts: list[Body], volumes: set[Any]) -> Iterator[Cause]:
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        inner = f"{field}[{index}]"
        name, path = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield required(f"{inner}.name")
        elif name not in volumes:
            yield Cause(f"{inner}.name", f'Not found: "{name}"', "FieldValueNotFound")
        if not path:
            yield required(f"{inner}.mountPath")
        elif path in paths:
            yield invalid_value(f"{inner}.mountPath", path, "must be unique")
        paths.add(path)
        if mount.get("subPath"):
            yield from _check_relative(f"{inner}.subPath", mount["subPath"])


def _check_variable(field: str, variable: Body) -> Iterator[Cause]:
    if not variable.get("name"):
        yield required(f"{field}.name")
    else:
        yield from ENV_NAME.check(f"{field}.name", variable["name"])
    source = variable.get("valueFrom")
    if source is None:
        return
    if variable.get("value"):
        yield invalid_value(f"{field}.valueFrom", "", "may not be specified when `value` is not empty")
    if len(source) != 1:
        yield invalid_value(f"{field}.valueFrom", "", "must specify one of: `fieldRef`, `resourceFieldRef`, "
                            "`configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
    if "fieldRef" in source:
        yield from _check_field_path(f"{field}.valueFrom.fieldRef", source["fieldRef"], _ENV_PATHS)


def _check_resources(field: str, resources: Body) -> Iterator[Cause]:
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    faults = [cause for group, amounts in (("limits", limits), ("requests", requests))
              for name, amount in amounts.items() for cause in _check_amount(f"{field}.{group}", name, amount)]
    yield from faults
    if faults:
        return
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None and "/" in name:
            yield Cause(f"{field}.limits", "Required value: Limit must be set for non overcommitable resources",
                        "FieldValueRequired")
        elif limit is not None and "/" in name and quantity(amount) != quantity(limit):
            yield invalid_value(f"{field}.requests", amount, f"must be equal to {name} limit of {limit}")
        elif limit is not None and quantity(amount) > quantity(limit):
            yield invalid_value(f"{field}.requests", amount, f"must be less than or equal to {name} limit of {limit}")


def _check_amount(field: str, name: str, amount: str) -> Iterator[Cause]:
    if "/" in name:
        yield from check_qualified(field, name)
    elif name not in ("cpu", "memory", "ephemeral-storage") and not name.startswith("hugepages-"):
        yield invalid_value(field, name, "must be a standard resource type or fully qualified")
    faults = list(_check_quantity(f"{field}[{name}]", amount))
    yield from faults
    if not faults and "/" in name and quantity(amount) % 1:
        yield invalid_value(f"{field}[{name}]", amount, "must be an integer")
