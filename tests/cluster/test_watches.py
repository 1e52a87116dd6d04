"""Watches, and what befalls them."""

import http.client
import json
import socket
from typing import Any

import pytest
from kubernetes import client, config, watch

from tests.cluster import Cluster
from tests.cluster.asking import (
    NS,
    gated,
    refusal,
    revision,
    watching,
)


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


def test_what_goes_is_told_as_it_was_before(api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, gated("a", metadata={"labels": {"job": "1"}, "finalizers": ["simyard.io/a"]}))
    unlabelled = watch.Watch().stream(api.list_namespaced_pod, NS, timeout_seconds=1, label_selector="job=1",
                                      resource_version=revision(api))
    api.patch_namespaced_pod("a", NS, {"metadata": {"labels": {"job": "2"}}})
    api.delete_namespaced_pod("a", NS)
    [left] = list(unlabelled)
    released = watch.Watch().stream(api.list_namespaced_pod, NS, timeout_seconds=1, resource_version=revision(api))
    answer = api.patch_namespaced_pod("a", NS, {"metadata": {"finalizers": None}},
                                      _content_type="application/merge-patch+json")
    [gone] = list(released)

    assert (left["type"], left["object"].metadata.labels) == ("DELETED", {"job": "1"})
    assert (gone["type"], gone["object"].metadata.finalizers) == ("DELETED", ["simyard.io/a"])
    assert answer.metadata.finalizers is None
    assert int(gone["object"].metadata.resource_version) > int(answer.metadata.resource_version)


def test_a_deletion_at_once_is_two_changes(three: client.CoreV1Api) -> None:
    since = revision(three)

    answer = three.delete_namespaced_pod("a", NS)

    changes = list(watch.Watch().stream(three.list_namespaced_pod, NS, timeout_seconds=1, resource_version=since))
    assert [change["type"] for change in changes] == ["MODIFIED", "DELETED"]
    assert all(change["object"].metadata.deletion_grace_period_seconds == 0 for change in changes)
    assert answer.metadata.resource_version == changes[0]["object"].metadata.resource_version


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
    assert body["message"].startswith("Timeout: Too large resource version: 1000000, current: ")


def test_a_watch_from_a_revision_of_the_future_waits_for_it(three: client.CoreV1Api) -> None:
    later = str(int(revision(three)) + 2)
    stream = watching(three, later)
    for name in "def":
        three.create_namespaced_pod(NS, gated(name))

    assert next(stream) == ("ADDED", "f")


def test_a_watch_says_what_time_it_is_and_does_not_begin_with_a_selector_that_is_none(
        three: client.CoreV1Api) -> None:
    answer = three.list_namespaced_pod(NS, watch=True, timeout_seconds=1, _preload_content=False)
    answer.close()

    assert answer.headers["Date"]
    assert refusal(lambda: list(watching(three, "", label_selector="a b")))["code"] == 400


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
    assert [next(stream), next(stream)] == [("MODIFIED", "a"), ("DELETED", "a")]

    faults.lose_events()
    three.delete_namespaced_pod("b", NS)
    faults.find_events()
    faults.delay_events(0.05)
    three.delete_namespaced_pod("d", NS)
    assert [next(stream), next(stream)] == [("MODIFIED", "d"), ("DELETED", "d")]

    again = watching(three, since)
    assert [next(again) for _ in range(7)] == [
        ("ADDED", "d"), *((kind, name) for name in "abd" for kind in ("MODIFIED", "DELETED"))]
