"""What the API server adds to a new object, and short words for times and quantities that both it and the nodes use."""

import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

_SUFFIXES = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("0.001"), "k": Decimal(1000),
    "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12, "P": Decimal(10) ** 15,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50}
# For so long pods stay on a node that is not heard of.
_OUTAGES = [{"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute",
             "tolerationSeconds": 300} for state in ("not-ready", "unreachable")]
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")


def timestamp(after_seconds: float = 0) -> str:
    """Now, or so much later, to the second, as metav1.Time is written."""
    return (datetime.now(UTC) + timedelta(seconds=after_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def earlier(time: str, seconds: float) -> str:
    """A timestamp so much before another."""
    return (datetime.fromisoformat(time) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def quantity(text: str) -> Decimal:
    """The number that `500m` or `1Gi` stands for; ValueError when it stands for none."""
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] not in _SUFFIXES:
        raise ValueError(text)
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def complete_metadata(metadata: dict[str, Any], namespace: str | None) -> dict[str, Any]:
    name = metadata.get("name") or metadata.get("generateName", "") + "".join(
        random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
    kept = {field: value for field, value in metadata.items()
            if field in ("generateName", "labels", "annotations", "finalizers", "ownerReferences")}
    return {"name": name, **({"namespace": namespace} if namespace else {}), "uid": str(uuid4()), "generation": 1,
            "creationTimestamp": timestamp()} | kept


def complete_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """A pod's spec with Kubernetes' defaults."""
    complete = {
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default", "serviceAccount": spec.get("serviceAccountName", "default"),
        "securityContext": {}, "schedulerName": "default-scheduler",
        "enableServiceLinks": True, "priority": 0, "preemptionPolicy": "PreemptLowerPriority"} | spec
    complete["tolerations"] = [*spec.get("tolerations", []), *_OUTAGES]
    if "volumes" in spec:
        complete["volumes"] = [volume if len(volume) > 1 else volume | {"emptyDir": {}} for volume in spec["volumes"]]
    for group in ("initContainers", "containers"):
        if group in spec:
            complete[group] = [_complete_container(container) for container in spec[group]]
    return complete


def _complete_container(container: dict[str, Any]) -> dict[str, Any]:
    image = container["image"]
    pinned = "@" in image or (":" in image.rsplit("/", 1)[-1] and not image.endswith(":latest"))
    complete = {
        "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent" if pinned else "Always"} | container
    resources = complete["resources"]
    if limits := resources.get("limits"):  # what is limited and not asked for is asked for
        complete["resources"] = {**resources, "requests": limits | resources.get("requests", {})}
    return complete


def new_status(spec: dict[str, Any]) -> dict[str, Any]:
    status = {"phase": "Pending", "qosClass": _quality(spec)}
    if not spec.get("schedulingGates"):
        return status
    return status | {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": None,
        "lastTransitionTime": None, "message": "Scheduling is blocked due to non-empty scheduling gates"}]}


def _quality(spec: dict[str, Any]) -> str:
    resources = [container["resources"] for container in [*spec.get("initContainers", []), *spec["containers"]]]
    if not any(resource.get("limits") or resource.get("requests") for resource in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(resource.get("limits", {})) and resource.get("requests") == resource["limits"]
        for resource in resources)
    return "Guaranteed" if guaranteed else "Burstable"
