"""The whole stack on a cluster in this process: a sweep of the reference robot as pods, from submission to bundles."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster import Cluster, Delays, Image
from tests.end_to_end.test_ingests import upload
from tests.images import A, B, C, ImageRegistry, dribbles, serving
from tests.stack import Stack, in_background
from tests.viewer import FoxgloveClient
from tests.waiting import until
from tests.workers.bags.making import START, write_db3

ROOT = Path(__file__).parents[2]


class Forwarder:
    """An address that is known before what stands behind it: recorders are told of web when workers start."""

    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(self.target or ("", 0)) as far:
            back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
            back.start()
            _pass_on(near, far)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The images are this checkout."""
    images = {"reference:1": Image(working_dir=str(ROOT), digest=A), "worker:1": Image()}
    with Cluster(tmp_path_factory.mktemp("cluster"), images=images, delays=Delays(second=0.1)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def registry(cluster: Cluster) -> Iterator[ImageRegistry]:
    """The cluster has all that was ever in it."""
    with serving(ImageRegistry({"us/robot:1": B})) as registry:
        cluster.images |= {f"{registry.host}/us/robot:was": Image(digest=B), f"{registry.host}/us/robot:is":
                           Image(digest=C)}
        yield registry


@pytest.fixture(scope="module")
def on_cluster(
        cluster: Cluster, registry: ImageRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    forwarder = Forwarder()
    with Stack(tmp_path_factory.mktemp("on_cluster"), RUNTIME="kubernetes", KUBECONFIG=str(cluster.kubeconfig),
               SIM_NAMESPACE="robot-sims", RECORDER_IMAGE="worker:1", COMMAND_IMAGE=f"docker.io/library/reference@{A}",
               SIMYARD_INTERNAL_URL=forwarder.url, INSECURE_REGISTRIES=registry.host) as stack:
        where = urlsplit(stack.ready["url"])
        forwarder.target = (str(where.hostname), int(where.port or 80))
        yield stack
    forwarder.close()


def test_a_sweep_runs_as_pods_and_leaves_bundles_and_nothing_else(on_cluster: Stack, cluster: Cluster) -> None:
    assert on_cluster.get("/system")["runtime"] == "kubernetes"
    answer = on_cluster.http.post("/simulations", json={"template": "diffdrive", "repeats": 2})
    assert answer.status_code == 202, answer.text
    simulation = answer.json()["id"]
    until(lambda: on_cluster.get(f"/simulations/{simulation}/status")["state"] == "SUCCEEDED", seconds=100)
    for item in on_cluster.get(f"/simulations/{simulation}/instances")["items"]:
        assert (item["passed"], item["exit_code"], item["attempt"]) == (True, 0, 1)
        assert item["image_digest"] == A
        [bundle] = item["bundles"]
        assert on_cluster.get(f"/bundles/{bundle}")["state"] == "READY"
        assert "goal" in on_cluster.http.get(f"/instances/{item['id']}/logs").text
    until(lambda: cluster.pods() == [])
    lives = {"create": 2, "delete": 2, "patch": 2}
    assert {verb: cluster.server.count(verb) for verb in lives} == lives


def test_a_cancelled_instance_is_stopped_and_its_pod_goes(on_cluster: Stack, cluster: Cluster) -> None:
    template = on_cluster.template("/bin/sh", "-c", "echo up; sleep 100")
    simulation = on_cluster.submit(template)
    until(lambda: on_cluster.get(f"/simulations/{simulation}/status")["counts"]["RUNNING"] == 1)
    on_cluster.http.post(f"/simulations/{simulation}/cancel")
    until(lambda: on_cluster.get(f"/simulations/{simulation}/status")["state"] == "CANCELLED")
    [item] = on_cluster.get(f"/simulations/{simulation}/instances")["items"]
    assert (item["reason"], on_cluster.http.get(f"/instances/{item['id']}/logs").text) == ("cancelled_by_user", "up\n")
    until(lambda: cluster.pods() == [])


def test_a_pod_that_is_evicted_is_tried_again(on_cluster: Stack, cluster: Cluster) -> None:
    template = on_cluster.template("/bin/sh", "-c", '[ "$SIMYARD_ATTEMPT" -gt 1 ] || sleep 100')
    simulation = on_cluster.submit(template)
    until(lambda: on_cluster.get(f"/simulations/{simulation}/status")["counts"]["RUNNING"] == 1)
    [pod] = cluster.pods()
    cluster.node.evict(pod["metadata"]["name"])
    until(lambda: on_cluster.get(f"/simulations/{simulation}/status")["state"] == "SUCCEEDED")
    [item] = on_cluster.get(f"/simulations/{simulation}/instances")["items"]
    detail = on_cluster.get(f"/instances/{item['id']}")
    assert detail["attempt"] == 2
    assert "evicted" in [each["reason"] for each in detail["transitions"]]
    until(lambda: cluster.pods() == [])


def test_a_version_runs_the_image_that_its_tag_meant_when_it_was_made(
        on_cluster: Stack, registry: ImageRegistry) -> None:
    template = on_cluster.template(
        "/bin/true", image=f"{registry.host}/us/robot:1", limits={"run_seconds": 60}, resources={"memory_mb": 100})
    registry.images["us/robot:1"] = C
    [was] = on_cluster.ended(on_cluster.submit(template))
    [own] = on_cluster.ended(on_cluster.submit(template, image=f"{registry.host}/us/robot:1"))
    assert [(each["state"], each["image_digest"]) for each in (was, own)] == [("SUCCEEDED", B), ("SUCCEEDED", C)]


def test_what_an_image_runs_by_itself_keeps_its_output(
        on_cluster: Stack, cluster: Cluster, registry: ImageRegistry) -> None:
    digest = registry.push("us/own:1", registry.image(Entrypoint=["sh", "-c"], Cmd=["echo by myself"]))
    cluster.images[f"{registry.host}/us/own:1"] = Image(digest=digest)
    [done] = on_cluster.ended(on_cluster.submit(on_cluster.template(
        image=f"{registry.host}/us/own:1", command=None, limits={"run_seconds": 60}, resources={"memory_mb": 100})))
    assert (done["state"], done["image_digest"]) == ("SUCCEEDED", digest)
    assert on_cluster.http.get(f"/instances/{done['id']}/logs").text == "by myself\n"


def test_a_registry_that_never_comes_to_an_end_is_left_and_others_are_served(
        on_cluster: Stack, registry: ImageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    template = on_cluster.template("/bin/true")
    monkeypatch.setattr(registry, "bad", dribbles(registry))
    asked, answers = len(registry.asked), []
    slow = in_background(lambda: answers.append(on_cluster.http.post(
        "/simulations", json={"template": template, "image": f"{registry.host}/us/robot:1"})))
    until(lambda: len(registry.asked) > asked)
    assert on_cluster.get(f"/templates/{template}")["version"] == 1
    slow.join(60)
    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "registry_unavailable")


def test_a_recording_is_looked_into_and_played_by_pods_and_seen_through_web(
        on_cluster: Stack, cluster: Cluster, tmp_path: Path) -> None:
    write_db3(tmp_path / "bag" / "bag_0.db3", [("/t", START + n * 10**9 // 50) for n in range(500)])
    bundle = upload(on_cluster, tmp_path / "bag")
    playback = on_cluster.post("/playbacks", {"bundle": bundle["id"], "loop": True}, status=202)["id"]
    url = until(lambda: on_cluster.get(f"/playbacks/{playback}")["websocket_url"])
    assert url.startswith(on_cluster.ready["url"].replace("http", "ws", 1))
    client = FoxgloveClient(url)
    try:
        client.subscribe(client.channels[0]["id"])
        assert client.message()
        client.control(playing=False, speed=2.0, seek=START + 5 * 10**9)
        assert until(lambda: (found := on_cluster.get(f"/playbacks/{playback}"))["paused"] and found)["rate"] == 2.0
        [pod] = [each for each in cluster.pods() if each["metadata"]["labels"]["simyard.io/kind"] == "playback"]
        cluster.node.evict(pod["metadata"]["name"])
        assert client.ending()[0] == 1001
    finally:
        client.close()
    on_cluster.post(f"/playbacks/{playback}/control", {"action": "stop"}, status=200)
    until(lambda: cluster.pods() == [])
