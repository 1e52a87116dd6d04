"""What may not be made of an object that is there, by those rules of Kubernetes that a patch of ours could break."""

from collections.abc import Iterator
from typing import Any

from tests.cluster.names import DNS_LABEL, DNS_SUBDOMAIN, check_metadata, invalid_value
from tests.cluster.refusals import Cause
from tests.cluster.validation import check_range

Body = dict[str, Any]
_MUTABLE = ("image", "activeDeadlineSeconds", "tolerations", "schedulingGates")
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")


def check_change(resource: str, old: Body, new: Body) -> list[Cause]:
    """Everything that is wrong with what a patch made of an object."""
    form = DNS_SUBDOMAIN if resource == "pods" else DNS_LABEL
    causes = check_metadata(new["metadata"] | {"name": old["metadata"]["name"]}, form)
    causes += _check_fixed_metadata(old["metadata"], new["metadata"])
    causes += _check_new_finalizers(old["metadata"], new["metadata"])
    if resource == "pods":
        causes += _check_spec_change(old["spec"], new["spec"])
        causes += _check_states(new["spec"], old["status"], new["status"])
    return causes


def _check_fixed_metadata(old: Body, new: Body) -> Iterator[Cause]:
    """These may be left out, but not be others. That a time of deletion is another is not minded while there is one."""
    for field in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds"):
        value = new.get(field)
        is_kept = field == "deletionTimestamp" and field in old
        if value is not None and value != old.get(field) and not is_kept:
            yield invalid_value(f"metadata.{field}", value, "field is immutable")


def _check_states(spec: Body, old: Body, new: Body) -> Iterator[Cause]:
    """What has ended for good does not run again."""
    lasting = {each["name"] for each in spec.get("initContainers", []) if each.get("restartPolicy") == "Always"}
    for group in ("initContainerStatuses", "containerStatuses"):
        running = {each["name"] for each in new.get(group, []) if "terminated" not in each.get("state", {})}
        for index, each in enumerate(old.get(group, [])):
            end = each.get("state", {}).get("terminated")
            if end and each["name"] in running - lasting and not _may_restart(spec["restartPolicy"], end):
                yield Cause(f"status.{group}[{index}].state", "Forbidden: may not be transitioned to non-terminated "
                            "state", "FieldValueForbidden")


def _may_restart(policy: str, end: Body) -> bool:
    return policy == "Always" or (policy == "OnFailure" and end.get("exitCode") != 0)


def _check_new_finalizers(old: Body, new: Body) -> Iterator[Cause]:
    added = [name for name in new.get("finalizers", []) if name not in old.get("finalizers", [])]
    if "deletionTimestamp" in old and added:
        names = ", ".join(f'"{name}"' for name in added)
        yield Cause("metadata.finalizers", "Forbidden: no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{names}}}", "FieldValueForbidden")


def _check_spec_change(old: Body, new: Body) -> Iterator[Cause]:
    if _fixed(old) != _fixed(new):
        yield Cause("spec", f"Forbidden: {_IMMUTABLE}", "FieldValueForbidden")
    if any(gate not in old.get("schedulingGates", []) for gate in new.get("schedulingGates", [])):
        yield Cause("spec.schedulingGates", "Forbidden: only deletion is allowed", "FieldValueForbidden")
    if any(toleration not in new.get("tolerations", []) for toleration in old.get("tolerations", [])):
        yield Cause("spec.tolerations", "Forbidden: existing toleration can not be modified except its "
                    "tolerationSeconds", "FieldValueForbidden")
    before, after = old.get("activeDeadlineSeconds"), new.get("activeDeadlineSeconds")
    if before is not None and after is None:
        yield Cause("spec.activeDeadlineSeconds", "Invalid value: null: must not update from a positive integer to nil "
                    "value")
    elif before is not None and after > before:
        yield invalid_value("spec.activeDeadlineSeconds", after, "must be less than or equal to previous value")
    elif after is not None:
        yield from check_range("spec.activeDeadlineSeconds", after, 1)


def _fixed(spec: Body) -> Body:
    fixed = {field: value for field, value in spec.items() if field not in _MUTABLE}
    for group in ("initContainers", "containers"):
        fixed[group] = [{field: value for field, value in container.items() if field not in _MUTABLE}
                        for container in spec.get(group, [])]
    return fixed
