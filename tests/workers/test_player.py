"""The player as web sees it: a program that reads a bundle over HTTP, shows it in time and takes orders."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from tests.fakes import FakeWeb
from tests.viewer import FoxgloveClient
from tests.waiting import until
from tests.workers.bags.making import START, write_db3
from workers.bags.cage import examine
from workers.desk import VIEWERS

S = 10**9


class Player:
    """`python -m workers.player` on a bag of 200 messages, 10 ms apart unless the test says otherwise."""

    def __init__(self, folder: Path, web: FakeWeb, host: str | None = None, **wanted: Any) -> None:
        attempt = folder / "attempt"
        for place in ("output", ".simyard"):
            (attempt / place).mkdir(parents=True)
        (attempt / "parameters.json").write_text(json.dumps(
            {"rate": 1.0, "loop": False, "topics": None, "start_ns": None, "end_ns": None} | wanted))
        (attempt / ".simyard" / "grant.json").write_text(json.dumps(
            {"job": "j", "attempt": 1, "token": "t", "kind": "playback", "address": {"url": web.url}}))
        self.log = (attempt / "log").open("wb")
        told = [".simyard/grant.json", host] if host else []
        self.process = subprocess.Popen([sys.executable, "-P", "-m", "workers.player", *told], cwd=attempt,
                                        stdout=self.log, stderr=self.log)
        until(lambda: web.address or self.process.poll() is not None)
        assert web.address, (attempt / "log").read_text()
        self.attempt = attempt
        self.http = httpx.Client(base_url=web.address["url"], timeout=30,
                                 headers={"Authorization": f"Bearer {web.address['token']}"})

    def order(self, action: str, **more: Any) -> dict[str, Any]:
        answer = self.http.post("/control", json={"action": action} | more)
        assert answer.status_code == 200, answer.text
        stand: dict[str, Any] = answer.json()
        return stand

    def stand(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/stand").json()
        return found

    @contextmanager
    def frames(self) -> Iterator[Iterator[dict[str, Any]]]:
        with self.http.stream("GET", "/frames") as stream:
            yield (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines()
                   if line.startswith("data: {\"topic"))

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def since(time: int, frames: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The frames from that of a jump on: when a player is told to pause, one message may be on its way to be shown."""
    return dropwhile(lambda frame: frame["t_ns"] != time, frames)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[FakeWeb]:
    with FakeWeb() as web:
        publish(web, tmp_path, 200)
        yield web


def publish(web: FakeWeb, folder: Path, count: int) -> None:
    """A bag of so many messages of a kilobyte."""
    bag = folder / f"of_{count}" / "bag_0.db3"
    write_db3(bag, [(f"/t{n % 2}", START + n * S // 100) for n in range(count)], size=1000)
    examine(bag, 60, scratch=folder, index=folder / "index")
    web.sources = {"bag_0.db3": bag.read_bytes(), "index": (folder / "index").read_bytes()}


@pytest.fixture
def start(tmp_path: Path, web: FakeWeb) -> Iterator[Any]:
    players: list[Player] = []

    def begin(**wanted: Any) -> Player:
        players.append(Player(tmp_path, web, **wanted))
        return players[-1]

    yield begin
    for player in players:
        player.close()


@pytest.fixture
def times() -> list[int]:
    """Of all messages, in order."""
    return [START + number * S // 100 for number in range(200)]


def test_everything_is_shown_in_order_to_who_begins_at_the_start(start: Any, times: list[int]) -> None:
    player = start(rate=50.0)
    player.order("pause")
    with player.frames() as frames:
        player.order("seek", to_ns=times[0])
        player.order("play")
        shown = since(times[0], frames)
        seen = [next(shown)["t_ns"] for _ in times]
    assert seen == times
    until(lambda: player.stand()["ended"])


def test_it_shows_what_comes_after_a_jump_and_nothing_of_before(start: Any, times: list[int]) -> None:
    player = start()
    player.order("pause")
    with player.frames() as frames:
        player.order("seek", to_ns=times[150])
        player.order("play")
        assert next(since(times[150], frames))
        player.order("seek", to_ns=times[10])
        later = [next(frames)["t_ns"] for _ in range(60)]
    back = later.index(times[10])
    assert later[back:back + 5] == times[10:15]


def test_a_step_shows_one_message(start: Any, times: list[int]) -> None:
    player = start()
    player.order("pause")
    with player.frames() as frames:
        player.order("seek", to_ns=times[20])
        assert next(since(times[20], frames))
        for number in (21, 22):
            player.order("step")
            assert next(frames)["t_ns"] == times[number]
            assert player.stand()["position_ns"] == times[number]


def test_only_the_wanted_topics_and_times_are_played(start: Any, times: list[int]) -> None:
    player = start(topics=["/t1"], start_ns=times[50], end_ns=times[100], rate=0.1)
    player.order("pause")
    with player.frames() as frames:
        player.order("seek", to_ns=0)
        player.order("rate", rate=50)
        player.order("play")
        seen = [next(frames) for _ in range(25)]
    assert {message["topic"] for message in seen} == {"/t1"}
    assert all(times[50] <= message["t_ns"] < times[100] for message in seen)
    assert player.stand()["position_ns"] < times[100]


def test_a_loop_begins_again(start: Any, times: list[int]) -> None:
    player = start(loop=True, rate=50.0)
    with player.frames() as frames:
        until(lambda: next(frames)["t_ns"] == times[0])
        until(lambda: next(frames)["t_ns"] == times[0])


def test_nobody_without_its_token_gets_in(start: Any) -> None:
    player = start()
    for method, path in (("GET", "/stand"), ("GET", "/frames"), ("POST", "/control"), ("GET", "/foxglove/view"),
                         ("GET", "/foxglove/control")):
        assert httpx.request(method, f"{player.http.base_url}{path}", timeout=30).status_code == 401
    assert player.http.get("/other").status_code == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"action": "jump"}', b'{"action": "seek"}',
                                  b'{"action": "rate", "rate": 1000}', b'{"action": "rate", "rate": "x"}'])
def test_an_order_that_is_none_changes_nothing(start: Any, body: bytes) -> None:
    player = start()
    player.order("pause")
    before = player.stand()
    assert player.http.post("/control", content=body).status_code == 409
    assert player.stand() == before


def test_stop_and_the_stop_signal_end_it_well(start: Any, tmp_path: Path) -> None:
    player = start()
    player.order("stop")
    assert player.process.wait(30) == 0


def test_the_stop_signal_ends_it_well(start: Any) -> None:
    player = start()
    os.kill(player.process.pid, signal.SIGINT)
    assert player.process.wait(30) == 0


FAR = START + 55 * S  # too far on to have been read ahead


def test_urls_that_have_run_out_are_asked_for_anew(start: Any, web: FakeWeb, tmp_path: Path) -> None:
    publish(web, tmp_path, 6000)
    player = start(rate=0.1)
    player.order("pause")
    asked = sum("/inputs" in call for call in web.calls)
    web.refuse_once = True
    with player.frames() as frames:
        player.order("seek", to_ns=FAR)
        assert next(frames)["t_ns"] == FAR
    assert sum("/inputs" in call for call in web.calls) == asked + 1


def test_storage_that_is_gone_ends_it_and_is_said(start: Any, web: FakeWeb, tmp_path: Path) -> None:
    publish(web, tmp_path, 6000)
    player = start(rate=0.1)
    web.sources.clear()
    player.order("seek", to_ns=FAR)
    assert player.process.wait(60) == 1
    assert "broke off" in (player.attempt / "log").read_text()


def test_it_tells_how_far_it_is(start: Any) -> None:
    player = start()
    until((player.attempt / "output/progress.jsonl").exists)
    line = json.loads((player.attempt / "output/progress.jsonl").read_text().splitlines()[0])
    assert 0 <= line["percent"] <= 100
    assert line["message"] in ("playing", "paused")


def watch(player: Player, way: str = "control") -> FoxgloveClient:
    url = str(player.http.base_url.copy_with(scheme="ws", path=f"/foxglove/{way}"))
    return FoxgloveClient(url, header={"Authorization": player.http.headers["Authorization"]})


def test_viewers_of_the_foxglove_protocol_see_it_too(start: Any) -> None:
    player = start(rate=0.5, loop=True)
    client = watch(player)
    try:
        assert client.info["dataStartTime"]
        assert {channel["topic"] for channel in client.channels} == {"/t0", "/t1"}
        assert {(channel["schemaName"], channel["schemaEncoding"], "string data" in channel["schema"])
                for channel in client.channels} == {("std_msgs/msg/String", "ros2msg", True)}
        client.subscribe(client.channels[0]["id"])
        assert client.message()
        until(lambda: player.stand()["viewers"] == 1)
    finally:
        client.close()
    until(lambda: player.stand()["viewers"] == 0)


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost"])
def test_it_listens_where_it_is_told_to(start: Any, web: FakeWeb, host: str) -> None:
    player = start(host=host, loop=True)
    assert web.address["url"].startswith(f"http://{host}:")
    client = watch(player, "view")
    client.subscribe(client.channels[0]["id"])
    assert client.message()
    client.close()


def test_who_may_only_look_sees_all_and_moves_nothing(start: Any, times: list[int]) -> None:
    player = start(rate=0.1, loop=True)
    looking, moving = watch(player, "view"), watch(player)
    try:
        assert "playbackControl" in moving.info["capabilities"]
        assert looking.info["capabilities"] == ["time"]
        looking.subscribe(looking.channels[0]["id"])
        assert looking.message()
        looking.control(playing=False, speed=9.0, seek=times[100])
        assert "does not support" in looking.told("status")["message"]
        assert player.stand()["rate"] == 0.1
        moving.control(playing=False, speed=2.0, seek=times[100])
        until(lambda: player.stand()["rate"] == 2.0)
    finally:
        looking.close()
        moving.close()


def test_only_so_many_look_by_the_foxglove_protocol_at_once(start: Any) -> None:
    player = start(rate=0.1, loop=True)
    clients = [watch(player, "view") for _ in range(VIEWERS)]
    try:
        with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
            watch(player)
        clients.pop().close()
        clients.append(until(lambda: _try(lambda: watch(player))))
    finally:
        for client in clients:
            client.close()


def _try(deed: Any) -> Any:
    try:
        return deed()
    except websocket.WebSocketBadStatusException:
        return None


def test_many_orders_at_once_leave_it_whole(start: Any, times: list[int]) -> None:
    player = start(loop=True)

    def jump() -> None:
        for number in range(0, 200, 20):
            httpx.post(f"{player.http.base_url}/control", json={"action": "seek", "to_ns": times[number]}, timeout=30,
                       headers=dict(player.http.headers))

    jumping = [threading.Thread(target=jump) for _ in range(4)]
    with player.frames() as frames:
        for thread in jumping:
            thread.start()
        for thread in jumping:
            thread.join(60)
        player.order("pause")
        player.order("seek", to_ns=times[42])
        player.order("play")
        assert until(lambda: next(frames)["t_ns"] == times[42])
