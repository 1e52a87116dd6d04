"""The API server, asked by the official client."""

import json

import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from tests.cluster import Cluster
from tests.cluster.conftest import a_pod

NS = "robot-sims"
GATED = {"schedulingGates": [{"name": "simyard.io/test"}]}  # such a pod stays as it was made


def test_a_pod_is_made_once(cluster: Cluster, api: client.CoreV1Api):
    made = api.create_namespaced_pod(NS, a_pod("a", **GATED))

    with pytest.raises(ApiException) as refused:
        api.create_namespaced_pod(NS, a_pod("a"))

    assert made.metadata.uid and made.metadata.creation_timestamp
    assert refused.value.status == 409
    body = json.loads(refused.value.body)
    assert (body["reason"], body["message"]) == ("AlreadyExists", 'pods "a" already exists')
    assert body["details"] == {"name": "a", "kind": "pods"}


def test_a_watch_from_a_list_tells_of_all_that_follows(cluster: Cluster, api: client.CoreV1Api):
    api.create_namespaced_pod(NS, a_pod("before", **GATED))
    listed = api.list_namespaced_pod(NS)
    api.create_namespaced_pod(NS, a_pod("a", **GATED))
    api.patch_namespaced_pod("a", NS, {"metadata": {"labels": {"x": "y"}}})
    api.delete_namespaced_pod("a", NS)

    events = list(watch.Watch().stream(api.list_namespaced_pod, NS, timeout_seconds=1,
                                       resource_version=listed.metadata.resource_version))

    seen = [(event["type"], event["object"].metadata.name) for event in events]
    assert seen[0] == ("ADDED", "a")
    assert seen[-1] == ("DELETED", "a")
    assert {name for _, name in seen} == {"a"}
