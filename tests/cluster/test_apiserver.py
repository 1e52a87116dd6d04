"""The API server, asked by the official client."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from tests.cluster import Cluster
from tests.cluster.conftest import a_pod
from tests.waiting import until

NS = "robot-sims"


def gated(name: str, **fields: Any) -> dict[str, Any]:
    """A pod that stays as it was made: no node takes it."""
    return a_pod(name, schedulingGates=[{"name": "simyard.io/test"}], **fields)


def refusal(call: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """The Status body of a call that is refused."""
    with pytest.raises(ApiException) as refused:
        call(*arguments, **options)
    body: dict[str, Any] = json.loads(refused.value.body)
    assert body["code"] == refused.value.status
    assert (body["kind"], body["status"]) == ("Status", "Failure")
    return body


def watching(api: client.CoreV1Api, since: str, **options: Any) -> Iterator[tuple[str, str]]:
    """Type and name (or code, or revision) of each event after a revision, as they come."""
    answer = api.list_namespaced_pod(NS, watch=True, resource_version=since, _preload_content=False,
                                     _request_timeout=30, **options)
    try:
        buffer = b""
        for block in answer.stream(amt=None):
            *lines, buffer = (buffer + block).split(b"\n")
            for event in map(json.loads, lines):
                about = event["object"]
                yield event["type"], about.get("code") or about["metadata"].get("name") or about["metadata"][
                    "resourceVersion"]
    finally:
        answer.close()


def revision(api: client.CoreV1Api) -> str:
    answer: str = api.list_namespaced_pod(NS).metadata.resource_version
    return answer


def names(answer: Any) -> list[str]:
    return [pod.metadata.name for pod in answer.items]


@pytest.fixture
def three(api: client.CoreV1Api) -> client.CoreV1Api:
    for name, labels in (("a", {"job": "1", "kind": "instance"}), ("b", {"job": "2"}), ("c", {})):
        api.create_namespaced_pod(NS, gated(name, metadata={"labels": labels}))
    return api


def test_the_official_client_finds_its_way(cluster: Cluster, api: client.CoreV1Api) -> None:
    assert client.VersionApi(api.api_client).get_code().git_version == "v1.36.2"
    assert client.CoreApi(api.api_client).get_api_versions().versions == ["v1"]
    assert client.ApisApi(api.api_client).get_api_versions().groups == []
    assert names(api.list_namespace()) == ["robot", "robot-sims"]
    assert api.read_namespace(NS).metadata.labels["kubernetes.io/metadata.name"] == NS


# Making pods


def test_a_pod_is_made_once(api: client.CoreV1Api) -> None:
    made = api.create_namespaced_pod(NS, gated("a"))

    body = refusal(api.create_namespaced_pod, NS, gated("a"))

    assert made.metadata.uid and made.metadata.creation_timestamp and int(made.metadata.resource_version) > 0
    assert (made.status.phase, made.spec.containers[0].termination_message_path) == ("Pending", "/dev/termination-log")
    assert (body["code"], body["reason"], body["message"]) == (409, "AlreadyExists", 'pods "a" already exists')
    assert body["details"] == {"name": "a", "kind": "pods"}


def test_of_many_who_make_the_same_pod_one_does(cluster: Cluster, api: client.CoreV1Api) -> None:
    codes: list[int] = []

    def make() -> None:
        with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
            try:
                client.CoreV1Api(connection).create_namespaced_pod(NS, gated("a"))
                codes.append(201)
            except ApiException as refused:
                codes.append(refused.status)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(codes) == [201] + [409] * 7


def test_a_dry_run_makes_nothing(cluster: Cluster, api: client.CoreV1Api) -> None:
    assert api.create_namespaced_pod(NS, gated("a"), dry_run="All").metadata.uid
    assert cluster.pods() == []


def test_a_namespace_that_is_not_there_is_404(api: client.CoreV1Api) -> None:
    assert refusal(api.create_namespaced_pod, "nowhere", gated("a"))["message"] == 'namespaces "nowhere" not found'
    assert refusal(api.read_namespaced_pod, "nobody", NS)["message"] == 'pods "nobody" not found'


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
    "a bad key": (with_metadata(annotations={"a/b/c": ""}), "metadata.annotations", "prefix part"),
    "too much to say": (with_metadata(annotations={"x": "y" * 262_144}), "metadata.annotations",
                        "may not be more than 262144 bytes"),
    "a bare finalizer": (with_metadata(finalizers=["record"]), "metadata.finalizers[0]", "fully qualified"),
    "no containers": (with_spec(containers=[]), "spec.containers", "Required value"),
    "no image": (with_main(image=""), "spec.containers[0].image", "Required value"),
    "a name twice": (lambda pod: pod["spec"]["containers"].append(pod["spec"]["containers"][0]),
                     "spec.containers[1].name", 'Duplicate value: "main"'),
    "a mount of nothing": (with_main(volumeMounts=[{"name": "x", "mountPath": "/x"}]),
                           "spec.containers[0].volumeMounts[0].name", 'Not found: "x"'),
    "a volume of no kind": (with_spec(volumes=[{"name": "work"}]), "spec.volumes[0]", "must specify a volume type"),
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


# Lists


@pytest.mark.parametrize(("selector", "found"), [
    ("job=1", ["a"]), ("job==2", ["b"]), ("job!=1", ["b", "c"]), ("job in (1, 2)", ["a", "b"]),
    ("job notin (1)", ["b", "c"]), ("kind", ["a"]), ("!kind", ["b", "c"]), ("job,!kind", ["b"]), ("", ["a", "b", "c"]),
])
def test_labels_select(three: client.CoreV1Api, selector: str, found: list[str]) -> None:
    assert names(three.list_namespaced_pod(NS, label_selector=selector)) == found


@pytest.mark.parametrize(("selector", "found"), [
    ("metadata.name=a", ["a"]), ("metadata.name!=a,status.phase=Pending", ["b", "c"]), ("spec.nodeName=x", []),
    ("status.phase!=Pending", []),
])
def test_fields_select(three: client.CoreV1Api, selector: str, found: list[str]) -> None:
    assert names(three.list_pod_for_all_namespaces(field_selector=selector)) == found


def test_a_selector_that_is_none_is_400(three: client.CoreV1Api) -> None:
    assert refusal(three.list_namespaced_pod, NS, label_selector="a b")["code"] == 400
    assert refusal(three.list_namespaced_pod, NS, field_selector="spec.image=x")["code"] == 400


def test_items_of_a_list_say_neither_kind_nor_version(three: client.CoreV1Api) -> None:
    listed = three.list_namespaced_pod(NS, _preload_content=False).json()
    single = three.read_namespaced_pod("a", NS, _preload_content=False).json()

    assert (listed["kind"], single["kind"]) == ("PodList", "Pod")
    assert all("kind" not in item for item in listed["items"])


def test_pages_are_of_one_moment_until_their_token_expires(cluster: Cluster, three: client.CoreV1Api) -> None:
    first = three.list_namespaced_pod(NS, limit=2)
    three.create_namespaced_pod(NS, gated("d"))
    second = three.list_namespaced_pod(NS, limit=2, _continue=first.metadata._continue)
    cluster.server.faults.forget()

    body = refusal(three.list_namespaced_pod, NS, limit=2, _continue=first.metadata._continue)

    assert (names(first), names(second)) == (["a", "b"], ["c"])
    assert first.metadata.remaining_item_count == 1
    assert second.metadata.resource_version == first.metadata.resource_version
    assert second.metadata._continue is None
    assert (body["code"], body["reason"]) == (410, "Expired")


# Watches


def test_a_watch_from_a_list_tells_of_all_that_follows(three: client.CoreV1Api) -> None:
    since = revision(three)
    three.create_namespaced_pod(NS, gated("d"))
    three.patch_namespaced_pod("d", NS, {"metadata": {"labels": {"x": "y"}}})
    three.delete_namespaced_pod("d", NS)

    stream = watch.Watch().stream(three.list_namespaced_pod, NS, timeout_seconds=1, resource_version=since)

    seen = [(event["type"], event["object"].metadata.name) for event in stream]
    assert (seen[0], seen[-1], {name for _, name in seen}) == (("ADDED", "d"), ("DELETED", "d"), {"d"})


def test_a_watch_from_nowhere_begins_with_what_is_there(three: client.CoreV1Api) -> None:
    stream = watching(three, "")

    assert [next(stream) for _ in range(3)] == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


def test_what_is_selected_no_longer_looks_deleted(three: client.CoreV1Api) -> None:
    stream = watching(three, revision(three), label_selector="job=1")
    three.patch_namespaced_pod("b", NS, {"metadata": {"labels": {"job": "1"}}})
    three.patch_namespaced_pod("a", NS, {"metadata": {"labels": {"job": "2"}}})

    assert [next(stream), next(stream)] == [("ADDED", "b"), ("DELETED", "a")]


def test_bookmarks_come_to_those_who_ask_and_can_be_resumed_from(cluster: Cluster, three: client.CoreV1Api) -> None:
    cluster.server.bookmark_seconds = 0.01
    stream = watching(three, revision(three), label_selector="job=none", allow_watch_bookmarks=True)

    kind, since = next(stream)
    three.create_namespaced_pod(NS, gated("d"))

    assert kind == "BOOKMARK"
    assert next(watching(three, since)) == ("ADDED", "d")


@pytest.mark.parametrize("gone_as", ["event", "status"])
def test_a_forgotten_revision_is_gone(cluster: Cluster, three: client.CoreV1Api, gone_as: Any) -> None:
    since = revision(three)
    three.create_namespaced_pod(NS, gated("d"))
    cluster.server.faults.gone_as = gone_as
    cluster.server.faults.forget()

    if gone_as == "event":
        assert list(watching(three, since)) == [("ERROR", 410)]
    else:
        assert refusal(lambda: list(watching(three, since)))["reason"] == "Expired"
    three.create_namespaced_pod(NS, gated("e"))
    assert next(watching(three, str(int(revision(three)) - 1)))[1] == "e"


def test_a_small_window_forgets_by_itself(cluster: Cluster, three: client.CoreV1Api) -> None:
    cluster.server.faults.forget(window=2)
    since = revision(three)
    for name in "def":
        three.patch_namespaced_pod("a", NS, {"metadata": {"labels": {"last": name}}})

    assert list(watching(three, since)) == [("ERROR", 410)]


def test_a_revision_of_the_future_is_too_large(three: client.CoreV1Api) -> None:
    body = refusal(three.list_namespaced_pod, NS, resource_version="1000000")

    assert (body["code"], body["reason"]) == (504, "Timeout")
    assert body["message"].startswith("Too large resource version: 1000000, current: ")


def test_a_slow_watcher_is_cut_off_and_finds_the_rest_from_where_it_was(tmp_path: Any) -> None:
    with Cluster(tmp_path, watch_buffer=10) as cluster, socket.create_connection(
            ("127.0.0.1", cluster.server.port)) as slow:
        slow.settimeout(30)
        slow.sendall(b"GET /api/v1/pods?watch=1&resourceVersion=2 HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"\r\n\r\n" not in slow.recv(65536, socket.MSG_PEEK):
            pass
        count = 150  # of some 60 kB each: more than sockets hold
        for number in range(count):
            cluster.registry.create("pods", NS, gated(f"p{number}", metadata={"annotations": {"x": "y" * 60_000}}))

        answer = http.client.HTTPResponse(slow)
        answer.begin()
        lines = answer.read().splitlines()
        last = json.loads(lines[-1])["object"]["metadata"]["resourceVersion"] if lines else "2"

        assert len(lines) < count
        with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
            rest = watching(client.CoreV1Api(connection), last)
            assert [next(rest) for _ in range(count - len(lines))] == [
                ("ADDED", f"p{number}") for number in range(len(lines), count)]


def test_all_watches_can_be_closed(cluster: Cluster, three: client.CoreV1Api) -> None:
    stream = watching(three, "")
    assert next(stream) == ("ADDED", "a")

    cluster.server.faults.close_watches()

    assert len(list(stream)) <= 2


def test_events_can_be_held_lost_and_late(cluster: Cluster, three: client.CoreV1Api) -> None:
    faults = cluster.server.faults
    since = revision(three)
    stream = watching(three, since)
    three.create_namespaced_pod(NS, gated("d"))
    assert next(stream) == ("ADDED", "d")

    faults.hold_events()
    three.delete_namespaced_pod("a", NS)
    faults.release_events()
    assert next(stream) == ("DELETED", "a")

    faults.lose_events()
    three.delete_namespaced_pod("b", NS)
    faults.find_events()
    faults.delay_events(0.05)
    three.delete_namespaced_pod("d", NS)
    assert next(stream) == ("DELETED", "d")

    again = watching(three, since)
    assert [next(again) for _ in range(4)] == [("ADDED", "d"), *(("DELETED", name) for name in "abd")]


# Patches


@pytest.mark.parametrize(("media_type", "patch"), [
    ("application/merge-patch+json", {"metadata": {"labels": {"job": "9", "kind": None}}}),
    ("application/strategic-merge-patch+json", {"metadata": {"labels": {"job": "9", "kind": None}}}),
    ("application/json-patch+json", [{"op": "test", "path": "/metadata/labels/job", "value": "1"},
                                     {"op": "replace", "path": "/metadata/labels/job", "value": "9"},
                                     {"op": "remove", "path": "/metadata/labels/kind"}]),
])
def test_labels_are_patched_three_ways(three: client.CoreV1Api, media_type: str, patch: Any) -> None:
    patched = three.patch_namespaced_pod("a", NS, patch, _content_type=media_type)

    assert patched.metadata.labels == {"job": "9"}


def test_a_patch_of_nothing_makes_no_revision(three: client.CoreV1Api) -> None:
    before = three.read_namespaced_pod("a", NS)

    after = three.patch_namespaced_pod("a", NS, {"metadata": {"labels": {"job": "1"}}})

    assert after.metadata.resource_version == before.metadata.resource_version


def test_a_patch_may_say_which_pod_it_means(three: client.CoreV1Api) -> None:
    pod = three.read_namespaced_pod("a", NS)
    good = {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}

    other = refusal(three.patch_namespaced_pod, "a", NS, {"metadata": {"uid": "x", "labels": {"x": "y"}}})
    three.patch_namespaced_pod("a", NS, {"metadata": {**good, "labels": {"x": "y"}}})
    stale = refusal(three.patch_namespaced_pod, "a", NS, {"metadata": {**good, "labels": {"x": "z"}}})

    assert (other["code"], other["reason"], stale["code"]) == (409, "Conflict", 409)
    assert "the object has been modified; please apply your changes to the latest version" in stale["message"]


def test_a_strategic_patch_adds_to_finalizers_and_a_merge_patch_replaces_them(api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, gated("a", metadata={"finalizers": ["simyard.io/a"]}))
    patch = {"metadata": {"finalizers": ["simyard.io/b"]}}

    added = api.patch_namespaced_pod("a", NS, patch)
    kept = api.patch_namespaced_pod("a", NS, {"metadata": {"finalizers": []}})
    replaced = api.patch_namespaced_pod("a", NS, patch, _content_type="application/merge-patch+json")

    assert added.metadata.finalizers == kept.metadata.finalizers == ["simyard.io/a", "simyard.io/b"]
    assert replaced.metadata.finalizers == ["simyard.io/b"]


def test_a_spec_is_not_patched_nor_a_status_but_by_its_own_path(three: client.CoreV1Api) -> None:
    body = refusal(three.patch_namespaced_pod, "a", NS, {"spec": {"restartPolicy": "Always"}})
    ignored = three.patch_namespaced_pod("a", NS, {"status": {"phase": "Failed"}})
    written = three.patch_namespaced_pod_status("a", NS, {"status": {"phase": "Failed"}})

    assert body["code"] == 422
    assert "pod updates may not change fields other than" in body["message"]
    assert (ignored.status.phase, written.status.phase) == ("Pending", "Failed")


def test_a_json_patch_that_fails_its_test_changes_nothing(three: client.CoreV1Api) -> None:
    body = refusal(three.patch_namespaced_pod, "a", NS, [
        {"op": "remove", "path": "/metadata/labels/kind"},
        {"op": "test", "path": "/metadata/labels/job", "value": "2"}])

    assert body["code"] == 422
    assert three.read_namespaced_pod("a", NS).metadata.labels["kind"] == "instance"


# Deletions


def test_a_pod_that_no_node_has_goes_at_once(cluster: Cluster, three: client.CoreV1Api) -> None:
    three.delete_namespaced_pod("a", NS)

    assert cluster.pod("a") is None


def test_a_deletion_may_say_which_pod_it_means(cluster: Cluster, three: client.CoreV1Api) -> None:
    body = refusal(three.delete_namespaced_pod, "a", NS,
                   body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another")))

    assert (body["code"], body["reason"]) == (409, "Conflict")
    assert "the UID in the precondition (another) does not match the UID in record" in body["message"]
    uid = cluster.pod("a")["metadata"]["uid"]  # type: ignore[index]
    three.delete_namespaced_pod("a", NS, body={"preconditions": {"uid": uid}})
    assert cluster.pod("a") is None


def test_finalizers_hold_an_object_and_none_can_be_added_then(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, gated("a", metadata={"finalizers": ["simyard.io/a"]}))

    held = api.delete_namespaced_pod("a", NS)
    body = refusal(api.patch_namespaced_pod, "a", NS, {"metadata": {"finalizers": ["simyard.io/b"]}})
    api.patch_namespaced_pod("a", NS, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["simyard.io/a"]}})

    assert held.metadata.deletion_timestamp
    assert "no new finalizers can be added if the object is being deleted" in body["message"]
    assert cluster.pod("a") is None


# Rights


def test_a_token_is_asked_for(tmp_path: Any) -> None:
    with Cluster(tmp_path, token="secret") as cluster:
        with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
            assert names(client.CoreV1Api(connection).list_namespaced_pod(NS)) == []
        answer = urllib3.request("GET", f"{cluster.url}/api/v1/pods", headers={"Authorization": "Bearer other"})

    assert answer.status == 401
    assert answer.json()["message"] == "Unauthorized"


def test_who_has_no_right_is_told_which_one(cluster: Cluster, three: client.CoreV1Api) -> None:
    cluster.server.allowed = {("get", "pods")}

    listing = refusal(three.list_namespaced_pod, NS)
    log = refusal(three.read_namespaced_pod_log, "a", NS)

    assert three.read_namespaced_pod("a", NS).metadata.name == "a"
    assert listing["message"] == (
        'pods is forbidden: User "system:serviceaccount:robot:simyard" cannot list resource "pods" in API group "" in '
        'the namespace "robot-sims"')
    assert log["message"].startswith('pods "a" is forbidden: ')
    assert 'cannot get resource "pods/log"' in log["message"]


def test_calls_are_kept_in_the_words_of_rbac(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, gated("a"))
    api.patch_namespaced_pod_status("a", NS, {})
    next(watching(api, ""))
    api.delete_namespaced_pod("a", NS)

    assert [tuple(call) for call in cluster.server.calls] == [
        ("create", "pods", "", NS, ""), ("patch", "pods", "status", NS, "a"), ("watch", "pods", "", NS, ""),
        ("delete", "pods", "", NS, "a")]
    assert cluster.server.rules == {("create", "pods"), ("patch", "pods/status"), ("watch", "pods"), ("delete", "pods")}
    assert cluster.server.count("create") == 1


# Faults


@pytest.mark.parametrize("code", [429, 500, 503])
def test_so_many_requests_of_a_verb_are_refused(cluster: Cluster, api: client.CoreV1Api, code: int) -> None:
    cluster.server.faults.refuse(code, times=2, verb="create", retry_after=7 if code == 429 else None)
    plain = urllib3.PoolManager(retries=False)
    url = f"{cluster.url}/api/v1/namespaces/{NS}/pods"

    answers = [plain.request("POST", url, json=gated("a")) for _ in range(3)]

    assert [answer.status for answer in answers] == [code, code, 201]
    assert answers[0].headers.get("Retry-After") == ("7" if code == 429 else None)
    plain.clear()
    if code != 429:
        assert answers[0].json()["code"] == code


def test_a_creation_may_be_done_and_its_answer_lost(cluster: Cluster) -> None:
    cluster.server.faults.cut()
    with urllib3.PoolManager(retries=False) as plain, pytest.raises(urllib3.exceptions.ProtocolError):
        plain.request("POST", f"{cluster.url}/api/v1/namespaces/{NS}/pods", json=gated("a"))

    assert cluster.pod("a") is not None


def test_a_stopped_server_refuses_connections_and_comes_back_with_its_objects(
        cluster: Cluster, three: client.CoreV1Api) -> None:
    url = cluster.url
    stream = watching(three, "")
    next(stream)

    cluster.server.stop()
    with pytest.raises(urllib3.exceptions.ProtocolError):
        list(stream)
    with urllib3.PoolManager(retries=False) as plain, pytest.raises(urllib3.exceptions.NewConnectionError):
        plain.request("GET", url)
    cluster.server.start()

    assert cluster.url == url
    assert names(three.list_namespaced_pod(NS)) == ["a", "b", "c"]


def test_a_hanging_server_takes_requests_and_does_nothing(cluster: Cluster, three: client.CoreV1Api) -> None:
    cluster.server.faults.hang()
    with urllib3.PoolManager(retries=False) as plain, pytest.raises(urllib3.exceptions.ReadTimeoutError):
        plain.request("DELETE", f"{cluster.url}/api/v1/namespaces/{NS}/pods/a", timeout=0.1)
    cluster.server.faults.answer()

    assert names(three.list_namespaced_pod(NS)) == ["a", "b", "c"]


def test_connections_that_are_left_are_let_go(cluster: Cluster, three: client.CoreV1Api) -> None:
    before = threading.active_count()
    stream = watching(three, revision(three))
    three.create_namespaced_pod(NS, gated("d"))
    next(stream)
    stream.close()  # type: ignore[attr-defined]

    until(lambda: threading.active_count() <= before)
