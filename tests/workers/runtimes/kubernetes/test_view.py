"""The view of all pods while the API server closes, forgets, loses and delays what it says."""

from uuid import uuid4

import pytest

from shared.domain.errors import Unavailable
from tests.cluster import Cluster
from tests.waiting import until
from tests.workers.runtimes.kubernetes.test_runtime import started
from workers.runtimes.base import Name, Seen
from workers.runtimes.kubernetes import view as module
from workers.runtimes.kubernetes.cluster import Cluster as Api
from workers.runtimes.kubernetes.runtime import KubernetesRuntime
from workers.runtimes.kubernetes.view import FrozenView, View

SELECTOR = "simyard.io/installation=test"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.02)


def hinted(runtime: KubernetesRuntime, name: Name) -> None:
    until(lambda: name in runtime.hints(0.1))


def test_what_was_there_before_is_hinted_and_what_comes_too(runtime: KubernetesRuntime) -> None:
    first = started(runtime, "sleep 60")
    hinted(runtime, first)
    second = started(runtime)
    hinted(runtime, second)
    until(lambda: runtime.observe(second).seen == Seen.ENDED)
    assert set(runtime.names()) == {first, second}
    runtime.kill(first)


def test_what_is_seen_is_not_asked_for(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime, "sleep 60")
    until(lambda: runtime.hints(0.1) is not None and runtime._view.get(name))
    before = cluster.server.count("get")
    assert runtime.observe(name).seen in (Seen.STARTING, Seen.RUNNING)
    assert cluster.server.count("get") == before
    assert runtime.observe(Name(uuid4(), 1)).seen == Seen.ABSENT
    assert cluster.server.count("get") == before + 1
    runtime.kill(name)


@pytest.mark.parametrize("gone_as", ["event", "status"])
def test_a_revision_that_is_gone_is_made_up_for_by_a_list(
        runtime: KubernetesRuntime, cluster: Cluster, gone_as: str) -> None:
    runtime.hints(0.1)
    cluster.server.faults.gone_as = gone_as  # type: ignore[assignment]
    cluster.server.faults.lose_events()
    name = started(runtime)
    cluster.wait(str(name), lambda pod: pod["status"]["phase"] == "Succeeded")
    cluster.server.faults.forget()
    cluster.server.faults.find_events()
    cluster.server.faults.close_watches()
    hinted(runtime, name)
    until(lambda: runtime._view.get(name))


def test_a_watch_that_is_closed_goes_on_where_it_ended(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    until(lambda: runtime.hints(0.1) or runtime._view.is_open)
    lists = cluster.server.count("list")
    for _ in range(5):
        cluster.server.faults.close_watches()
        hinted(runtime, started(runtime))
    assert cluster.server.count("list") == lists


def test_an_event_that_never_came_is_made_up_for_by_the_next_list(
        runtime: KubernetesRuntime, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    until(lambda: runtime.hints(0.1) or runtime._view.is_open)
    cluster.server.faults.lose_events()
    name = started(runtime)
    cluster.wait(str(name), lambda pod: pod["status"]["phase"] == "Succeeded")
    monkeypatch.setattr(module, "RELIST_SECONDS", 0)
    cluster.server.faults.find_events()
    cluster.server.faults.close_watches()
    hinted(runtime, name)


def test_an_api_server_that_was_away_is_watched_again(runtime: KubernetesRuntime, cluster: Cluster) -> None:
    name = started(runtime, "sleep 60")
    hinted(runtime, name)
    cluster.server.stop()
    with pytest.raises(Unavailable):
        runtime.observe(Name(uuid4(), 1))
    cluster.server.start()
    hinted(runtime, started(runtime))
    runtime.kill(name)


def test_a_frozen_view_is_not_served(api: Api, cluster: Cluster) -> None:
    cluster.server.faults.hang()
    now = [0.0]
    view = View(api, SELECTOR, clock=lambda: now[0])
    assert view.changed(0) == set()
    now[0] = module.FROZEN_SECONDS + 1
    with pytest.raises(FrozenView):
        view.changed(0)
    view.close()
    cluster.server.faults.answer()
