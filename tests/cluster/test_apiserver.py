"""What the API server does with pods, asked by the official client."""

import threading
from datetime import timedelta
from typing import Any

import pytest
import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.cluster import Cluster
from tests.cluster.asking import NS, a_pod, gated, names, refusal, watching


def test_the_official_client_finds_its_way(cluster: Cluster, api: client.CoreV1Api) -> None:
    assert client.VersionApi(api.api_client).get_code().git_version == "v1.36.2"
    assert client.CoreApi(api.api_client).get_api_versions().versions == ["v1"]
    assert client.ApisApi(api.api_client).get_api_versions().groups == []
    assert names(api.list_namespace()) == ["robot", "robot-sims"]
    assert api.read_namespace(NS).metadata.labels["kubernetes.io/metadata.name"] == NS


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


def test_a_namespace_that_is_not_there_is_404(api: client.CoreV1Api) -> None:
    assert refusal(api.create_namespaced_pod, "nowhere", gated("a"))["message"] == 'namespaces "nowhere" not found'
    assert refusal(api.read_namespaced_pod, "nobody", NS)["message"] == 'pods "nobody" not found'


def test_items_of_a_list_say_neither_kind_nor_version(three: client.CoreV1Api) -> None:
    listed = three.list_namespaced_pod(NS, _preload_content=False).json()
    single = three.read_namespaced_pod("a", NS, _preload_content=False).json()

    assert (listed["kind"], single["kind"]) == ("PodList", "Pod")
    assert all("kind" not in item for item in listed["items"])


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


@pytest.mark.parametrize("selector", ["a b", "x/y/z=1", "job=1,", "="])
def test_a_selector_that_is_none_is_400(three: client.CoreV1Api, selector: str) -> None:
    assert refusal(three.list_namespaced_pod, NS, label_selector=selector)["code"] == 400
    assert refusal(three.list_namespaced_pod, NS, field_selector="spec.image=x")["code"] == 400


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


def test_what_follows_a_page_is_counted_only_where_nothing_is_selected(three: client.CoreV1Api) -> None:
    page = three.list_namespaced_pod(NS, limit=1, label_selector="job").metadata

    assert page.remaining_item_count is None
    both = {"_continue": page._continue, "resource_version": "1"}
    assert refusal(three.list_namespaced_pod, NS, limit=1, **both)["code"] == 400
    assert len(three.list_namespaced_pod(NS, limit=-1).items) == 3


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

    assert (other["code"], other["reason"], stale["code"], stale["reason"]) == (422, "Invalid", 409, "Conflict")
    assert 'metadata.uid: Invalid value: "x": field is immutable' in other["message"]
    assert "the object has been modified; please apply your changes to the latest version" in stale["message"]


def test_a_strategic_patch_adds_to_finalizers_and_a_merge_patch_replaces_them(api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, gated("a", metadata={"finalizers": ["simyard.io/a"]}))
    patch = {"metadata": {"finalizers": ["simyard.io/b"]}}

    added = api.patch_namespaced_pod("a", NS, patch)
    kept = api.patch_namespaced_pod("a", NS, {"metadata": {"finalizers": []}})
    replaced = api.patch_namespaced_pod("a", NS, patch, _content_type="application/merge-patch+json")

    assert added.metadata.finalizers == kept.metadata.finalizers == ["simyard.io/b", "simyard.io/a"]
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


def test_a_conflict_of_a_deletion_names_the_kind(three: client.CoreV1Api) -> None:
    body = refusal(three.delete_namespaced_pod, "a", NS, body={"preconditions": {"resourceVersion": "1"}})

    assert body["details"]["kind"] == "Pod"
    assert body["message"].startswith('Operation cannot be fulfilled on Pod "a": the ResourceVersion in the')


def bound(api: client.CoreV1Api, name: str, **metadata: Any) -> None:
    """A pod of a node that there is not."""
    api.create_namespaced_pod(NS, a_pod(name, metadata=metadata, nodeName="elsewhere"))


def test_a_deletion_that_is_hastened_counts_from_the_first_request(api: client.CoreV1Api) -> None:
    bound(api, "a")
    first = api.delete_namespaced_pod("a", NS, grace_period_seconds=100).metadata

    longer = api.delete_namespaced_pod("a", NS, grace_period_seconds=200).metadata
    shorter = api.delete_namespaced_pod("a", NS, grace_period_seconds=40).metadata
    unstated = api.delete_namespaced_pod("a", NS).metadata

    assert (longer.deletion_timestamp, longer.deletion_grace_period_seconds) == (first.deletion_timestamp, 100)
    assert first.deletion_timestamp - shorter.deletion_timestamp == timedelta(seconds=60)
    assert (shorter.deletion_grace_period_seconds, unstated.resource_version) == (40, shorter.resource_version)


def test_what_ends_while_it_is_being_deleted_is_for_its_node_to_let_go(api: client.CoreV1Api) -> None:
    bound(api, "a")
    api.delete_namespaced_pod("a", NS)
    api.patch_namespaced_pod_status("a", NS, {"status": {"phase": "Succeeded"}})

    assert api.delete_namespaced_pod("a", NS).metadata.deletion_grace_period_seconds == 10
    assert refusal(api.create_namespaced_pod, NS, gated("a"))["message"] == (
        'object is being deleted: pods "a" already exists')
    api.delete_namespaced_pod("a", NS, grace_period_seconds=0)
    assert names(api.list_namespaced_pod(NS)) == []


def test_a_grace_below_none_is_a_second(api: client.CoreV1Api) -> None:
    bound(api, "a")

    deleted = api.delete_namespaced_pod("a", NS, body={"gracePeriodSeconds": -5})

    assert deleted.metadata.deletion_grace_period_seconds == 1


@pytest.mark.parametrize("options", [{"kind": "Pod"}, {"gracePeriodSeconds": "x"}, {"dryRun": ["All"]}, []])
def test_a_deletion_by_options_that_are_none_deletes_nothing(
        cluster: Cluster, three: client.CoreV1Api, options: Any) -> None:
    answer = urllib3.request("DELETE", f"{cluster.url}/api/v1/namespaces/{NS}/pods/a", json=options)

    assert answer.status == 400
    assert "a" in names(three.list_namespaced_pod(NS))


@pytest.mark.parametrize("change", [{"deletionTimestamp": "2001-01-01T00:00:00Z"}, {"deletionGracePeriodSeconds": 0}])
def test_a_pod_is_not_deleted_by_a_patch(three: client.CoreV1Api, change: Any) -> None:
    assert "field is immutable" in refusal(three.patch_namespaced_pod, "a", NS, {"metadata": change})["message"]


def test_a_patch_may_not_move_a_pod_nor_mind_its_revision_when_it_says_0(three: client.CoreV1Api) -> None:
    moved = refusal(three.patch_namespaced_pod, "a", NS, {"metadata": {"namespace": "robot"}})
    patched = three.patch_namespaced_pod("a", NS, {"metadata": {"resourceVersion": "0", "labels": {"job": "5"}}})

    assert (moved["code"], patched.metadata.labels["job"]) == (400, "5")


def test_times_that_nobody_knows_are_null(three: client.CoreV1Api) -> None:
    three.patch_namespaced_pod_status("a", NS, {"status": {
        "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"name": "main", "state": {
            "terminated": {"exitCode": 0}}, "image": "x", "imageID": "", "ready": False, "restartCount": 0}]}})

    said = three.read_namespaced_pod("a", NS, _preload_content=False).json()["status"]

    ready = next(each for each in said["conditions"] if each["type"] == "Ready")
    assert (ready["lastProbeTime"], ready["lastTransitionTime"]) == (None, None)
    end = said["containerStatuses"][0]["state"]["terminated"]
    assert (end["startedAt"], end["finishedAt"]) == (None, None)


def test_a_container_that_has_ended_does_not_run_again(api: client.CoreV1Api) -> None:
    bound(api, "a")
    said = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    ended, runs = ({"status": {"containerStatuses": [said | {"state": state}]}} for state in (
        {"terminated": {"exitCode": 0}}, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}))
    api.patch_namespaced_pod_status("a", NS, runs)
    api.patch_namespaced_pod_status("a", NS, ended)

    body = refusal(api.patch_namespaced_pod_status, "a", NS, runs)

    assert body["details"]["causes"][0]["field"] == "status.containerStatuses[0].state"
    assert "may not be transitioned to non-terminated state" in body["message"]


def test_a_namespace_ends_with_its_last_pod_and_takes_no_other(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, gated("a"))
    api.create_namespaced_pod(NS, gated("held", metadata={"finalizers": ["simyard.io/a"]}))

    api.delete_namespace(NS)
    ending = api.read_namespace(NS)
    body = refusal(api.create_namespaced_pod, NS, gated("b"))
    left = names(api.list_namespaced_pod(NS))
    api.patch_namespaced_pod("held", NS, [{"op": "remove", "path": "/metadata/finalizers"}])

    assert (ending.status.phase, left) == ("Terminating", ["held"])
    assert (body["code"], body["message"]) == (
        403, f'pods "b" is forbidden: unable to create new content in namespace {NS} because it is being terminated')
    assert body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    assert names(api.list_namespace()) == ["robot"]


def test_finalizers_hold_an_object_and_none_can_be_added_then(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, gated("a", metadata={"finalizers": ["simyard.io/a"]}))

    held = api.delete_namespaced_pod("a", NS)
    body = refusal(api.patch_namespaced_pod, "a", NS, {"metadata": {"finalizers": ["simyard.io/b"]}})
    api.patch_namespaced_pod("a", NS, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["simyard.io/a"]}})

    assert held.metadata.deletion_timestamp
    assert "no new finalizers can be added if the object is being deleted" in body["message"]
    assert cluster.pod("a") is None


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
