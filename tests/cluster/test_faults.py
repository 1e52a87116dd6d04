"""What goes wrong between a client and the API server on a test's order."""

import threading

import pytest
import urllib3
from kubernetes import client

from tests.cluster import Cluster
from tests.cluster.asking import NS, gated, names, revision, watching
from tests.waiting import until


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


def test_a_creation_may_be_done_and_never_answered(cluster: Cluster) -> None:
    cluster.server.faults.stall()
    with urllib3.PoolManager(retries=False) as plain, pytest.raises(urllib3.exceptions.ReadTimeoutError):
        plain.request("POST", f"{cluster.url}/api/v1/namespaces/{NS}/pods", json=gated("a"), timeout=0.2)

    cluster.server.until(lambda: cluster.pod("a"))


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
