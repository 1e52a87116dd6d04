"""Which pods the API server does not take, and in which words."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.cluster import Cluster
from tests.cluster.asking import NS, a_pod, gated, refusal


def test_a_dry_run_makes_nothing(cluster: Cluster, api: client.CoreV1Api) -> None:
    assert api.create_namespaced_pod(NS, gated("a"), dry_run="All").metadata.uid
    assert cluster.pods() == []


def test_unknown_fields_are_dropped_unless_validation_is_strict(api: client.CoreV1Api) -> None:
    pod = gated("a")
    pod["spec"]["containers"][0]["comand"] = ["x"]

    body = refusal(api.create_namespaced_pod, NS, pod, field_validation="Strict")
    made = api.create_namespaced_pod(NS, pod, _preload_content=False).json()

    assert body["code"] == 400
    assert 'strict decoding error: unknown field "spec.containers[0].comand"' in body["message"]
    assert "comand" not in made["spec"]["containers"][0]


def with_main(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda pod: pod["spec"]["containers"][0].update(fields)


def with_spec(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda pod: pod["spec"].update(fields)


def with_metadata(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda pod: pod["metadata"].update(fields)


INVALID: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "a bad name": (with_metadata(name="Bad_Name"), "metadata.name", "a lowercase RFC 1123 subdomain"),
    "a bad label": (with_metadata(labels={"x": "-no"}), "metadata.labels", "a valid label must be"),
    "a long label": (with_metadata(labels={"x": "y" * 64}), "metadata.labels", "must be no more than 63 characters"),
    "a bad key": (with_metadata(annotations={"a/b/c": ""}), "metadata.annotations",
                  "with an optional DNS subdomain prefix and '/'"),
    "a bad prefix": (with_metadata(annotations={"A_/b": ""}), "metadata.annotations", "prefix part"),
    "no name at all": (lambda pod: pod["metadata"].pop("name"), "metadata.name", "name or generateName is required"),
    "too much to say": (with_metadata(annotations={"x": "y" * 262_144}), "metadata.annotations",
                        "may not be more than 262144 bytes"),
    "a bare finalizer": (with_metadata(finalizers=["record"]), "metadata.finalizers[0]", "fully qualified"),
    "no containers": (with_spec(containers=[]), "spec.containers", "Required value"),
    "no image": (with_main(image=""), "spec.containers[0].image", "Required value"),
    "a name twice": (lambda pod: pod["spec"]["containers"].append(pod["spec"]["containers"][0]),
                     "spec.containers[1].name", 'Duplicate value: "main"'),
    "a mount of nothing": (with_main(volumeMounts=[{"name": "x", "mountPath": "/x"}]),
                           "spec.containers[0].volumeMounts[0].name", 'Not found: "x"'),
    "a bad value to choose nodes by": (with_spec(nodeSelector={"a": "b c"}), "spec.nodeSelector", "a valid label"),
    "a toleration of nothing": (with_spec(tolerations=[{"operator": "Equal", "value": "x"}]),
                                "spec.tolerations[0].operator", "operator must be Exists when `key` is empty"),
    "a toleration of any value and of one": (
        with_spec(tolerations=[{"key": "a", "operator": "Exists", "value": "x"}]), "spec.tolerations[0].operator",
        "value must be empty"),
    "a toleration for a while of what evicts nobody": (
        with_spec(tolerations=[{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}]),
        "spec.tolerations[0].effect", "effect must be 'NoExecute'"),
    "a request above its limit": (with_main(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
                                  "spec.containers[0].resources.requests", "less than or equal to cpu limit of 1"),
    "half a GPU": (with_main(resources={"limits": {"nvidia.com/gpu": "0.5"}}),
                   "spec.containers[0].resources.limits[nvidia.com/gpu]", "must be an integer"),
    "no quantity": (with_main(resources={"limits": {"memory": "1 GB"}}),
                    "spec.containers[0].resources.limits[memory]", "quantities must match"),
    "a restart policy of its own": (with_main(restartPolicy="Always"), "spec.containers[0].restartPolicy",
                                    "may not be set for non-init containers"),
    "an unknown policy": (with_spec(restartPolicy="Sometimes"), "spec.restartPolicy", "Unsupported value"),
    "no time at all": (with_spec(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds", "between 1 and 2147483647"),
    "a variable with two values": (
        with_main(env=[{"name": "X", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        "spec.containers[0].env[0].valueFrom", "may not be specified when `value` is not empty"),
    "a field that is none": (
        with_main(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}]),
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath", "field label not supported"),
    "a hook of a plain init container": (
        with_spec(initContainers=[{"name": "i", "image": "x:1", "lifecycle": {"preStop": {"exec": {
            "command": ["x"]}}}}]), "spec.initContainers[0].lifecycle", "without restartPolicy=Always"),
}


def test_what_is_left_out_is_filled_in(api: client.CoreV1Api) -> None:
    made = api.create_namespaced_pod(NS, gated("a", volumes=[{"name": "work"}]))

    assert made.spec.volumes[0].empty_dir is not None
    assert (made.spec.service_account, made.spec.service_account_name) == ("default", "default")
    assert {(each.key, each.effect, each.toleration_seconds) for each in made.spec.tolerations} == {
        ("node.kubernetes.io/not-ready", "NoExecute", 300), ("node.kubernetes.io/unreachable", "NoExecute", 300)}


@pytest.mark.parametrize("case", INVALID)
def test_what_kubernetes_finds_invalid_is_422(api: client.CoreV1Api, case: str) -> None:
    change, field, words = INVALID[case]
    pod = gated("a")
    change(pod)

    body = refusal(api.create_namespaced_pod, "robot", pod)

    assert (body["code"], body["reason"], body["details"]["kind"]) == (422, "Invalid", "Pod")
    assert any(cause["field"] == field and words in cause["message"] for cause in body["details"]["causes"]), body


def test_a_value_of_a_wrong_type_is_400(api: client.CoreV1Api) -> None:
    body = refusal(api.create_namespaced_pod, NS, gated("a", main={"env": [{"name": "X", "value": 1}]}))

    assert body["code"] == 400
    assert "cannot unmarshal number into Go struct field spec.containers[0].env[0].value of type string" in body[
        "message"]


INSECURE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "may be root": (with_spec(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
                    'runAsNonRoot != true (pod or container "main" must set securityContext.runAsNonRoot=true)'),
    "no seccomp": (with_spec(securityContext={"runAsNonRoot": True}),
                   'seccompProfile (pod or container "main" must set securityContext.seccompProfile.type to '
                   '"RuntimeDefault" or "Localhost")'),
    "escalates": (with_main(securityContext={"capabilities": {"drop": ["ALL"]}}),
                  'allowPrivilegeEscalation != false (container "main" must set '
                  "securityContext.allowPrivilegeEscalation=false)"),
    "keeps capabilities": (with_main(securityContext={"allowPrivilegeEscalation": False}),
                           'unrestricted capabilities (container "main" must set '
                           'securityContext.capabilities.drop=["ALL"])'),
    "is root": (lambda pod: pod["spec"]["securityContext"].update(runAsUser=0),
                "runAsUser=0 (pod must not set runAsUser=0)"),
    "is privileged": (with_main(securityContext={"privileged": True, "allowPrivilegeEscalation": False,
                                                 "capabilities": {"drop": ["ALL"]}}),
                      'privileged (container "main" must not set securityContext.privileged=true)'),
    "reads the host": (lambda pod: pod["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
                       'restricted volume types (volume "host" uses restricted volume type "hostPath")'),
    "is on the host's network": (with_spec(hostNetwork=True), "host namespaces (hostNetwork=true)"),
    "takes a port of the host": (with_main(ports=[{"containerPort": 80, "hostPort": 80}]),
                                 'hostPort (container "main" uses hostPort 80)'),
}


@pytest.mark.parametrize("case", INSECURE)
def test_a_restricted_namespace_refuses_and_another_does_not(api: client.CoreV1Api, case: str) -> None:
    change, words = INSECURE[case]
    pod = gated("a")
    change(pod)

    body = refusal(api.create_namespaced_pod, NS, pod)

    assert (body["code"], body["reason"]) == (403, "Forbidden")
    assert body["message"] == f'pods "a" is forbidden: violates PodSecurity "restricted:latest": {words}'
    assert api.create_namespaced_pod("robot", pod).metadata.name == "a"


def test_a_quota_counts_the_pods_that_have_not_ended(cluster: Cluster, api: client.CoreV1Api) -> None:
    cluster.registry.pod_quotas[NS] = 1
    api.create_namespaced_pod(NS, a_pod("a"))
    cluster.wait("a", lambda pod: pod["status"]["phase"] == "Succeeded")
    api.create_namespaced_pod(NS, gated("b"))

    body = refusal(api.create_namespaced_pod, NS, gated("c"))

    assert (body["code"], body["message"]) == (
        403, 'pods "c" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=1, limited: pods=1')
