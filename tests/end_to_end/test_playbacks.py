"""A recording played by a running stack, watched over HTTP and through the Foxglove protocol."""

import itertools
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from tests.end_to_end.test_ingests import upload
from tests.stack import ENDED, Stack
from tests.viewer import FoxgloveClient, time_of
from tests.waiting import until
from tests.workers.bags.making import START, write_db3
from workers.runtimes import processes

S = 10**9


@pytest.fixture(scope="module")
def bundle(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Twenty seconds, fifty messages each, the same in every test."""
    folder: Path = tmp_path_factory.mktemp("played")
    write_db3(folder / "played_0.db3", [(f"/t{n % 2}", START + n * S // 50) for n in range(1000)])
    return upload(stack, folder)


def start(stack: Stack, bundle: dict[str, Any], **fields: Any) -> str:
    playback: str = stack.post("/playbacks", {"bundle": bundle["id"]} | fields, status=202)["id"]
    until(lambda: stack.get(f"/playbacks/{playback}")["position_ns"] is not None)
    return playback


def order(stack: Stack, playback: str, action: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = stack.post(f"/playbacks/{playback}/control", {"action": action} | more, status=200)
    return found


@contextmanager
def frames(stack: Stack, playback: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """(event, data) as they come, but for what a busy machine was too slow to show."""
    def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
        name = ""
        for line in lines:
            field, _, value = line.partition(": ")
            name = value if field == "event" else name
            if field == "data" and name != "dropped":
                yield name, json.loads(value)

    with stack.http.stream("GET", f"/playbacks/{playback}/stream") as stream:
        yield events(stream.iter_lines())


def test_a_playback_is_moved_while_it_runs_and_ends_when_it_is_told_to(stack: Stack, bundle: dict[str, Any]) -> None:
    playback = start(stack, bundle, rate=1.0, topics=["/t0"])
    with frames(stack, playback) as shown:
        assert next(shown)[1]["topic"] == "/t0"
        assert order(stack, playback, "pause")["paused"]
        order(stack, playback, "seek", to_ns=START + 10 * S)
        seen = until(lambda: (found := next(shown))[1]["t_ns"] == START + 10 * S and found)
        assert seen[0] == "frame"
        order(stack, playback, "step")
        assert next(shown)[1]["t_ns"] == START + 10 * S + S // 25
        assert order(stack, playback, "rate", rate=50.0)["rate"] == 50.0
        order(stack, playback, "play")
        last = until(lambda: (found := next(shown))[1]["t_ns"] == START + 998 * S // 50 and found)
        assert last[1]["topic"] == "/t0"
        order(stack, playback, "stop")
        assert until(lambda: (found := next(shown))[0] == "end" and found)[1] == {"state": "SUCCEEDED"}
    assert until(lambda: stack.get(f"/playbacks/{playback}")["state"] in ENDED)
    stack.post(f"/playbacks/{playback}/control", {"action": "play"}, status=409)


@contextmanager
def watching(url: str, *topics: str) -> Iterator[FoxgloveClient]:
    """A viewer of these topics, by the numbers 1 and up."""
    client = FoxgloveClient(url)
    try:
        places = {channel["topic"]: channel["id"] for channel in client.channels}
        for number, topic in enumerate(topics, 1):
            client.subscribe(places[topic], number)
        yield client
    finally:
        client.close()


def url_of(stack: Stack, playback: str) -> str:
    """Where a viewer is let in, once its player runs."""
    url: str = until(lambda: stack.get(f"/playbacks/{playback}")["websocket_url"])
    return url


def test_two_viewers_of_the_foxglove_protocol_see_it_and_move_it(stack: Stack, bundle: dict[str, Any]) -> None:
    playback = start(stack, bundle, loop=True)
    url = url_of(stack, playback)
    assert url.startswith(stack.ready["url"].replace("http", "ws", 1) + f"/api/v1/playbacks/{playback}/foxglove?")
    with watching(url, "/t0") as first, watching(url, "/t0") as second:
        assert first.message() and second.message()
        first.control(playing=False, speed=2.0, seek=START + 5 * S)
        stand = until(lambda: (found := stack.get(f"/playbacks/{playback}"))["paused"] and found)
        assert (stand["position_ns"], stand["rate"]) == (START + 5 * S, 2.0)
        order(stack, playback, "seek", to_ns=START + 8 * S)
        order(stack, playback, "play")
        for client in (first, second):
            until(lambda client=client: client.time() == START + 8 * S)
        order(stack, playback, "stop")
        assert first.ending()[0] == 1001
    until(lambda: stack.get(f"/playbacks/{playback}")["state"] in ENDED)
    with pytest.raises(websocket.WebSocketBadStatusException, match="409"):
        FoxgloveClient(url)


def test_who_may_only_look_moves_nothing(stack: Stack, bundle: dict[str, Any]) -> None:
    playback = start(stack, bundle, loop=True, rate=0.5)
    token = stack.post("/auth/tokens", {"name": "looks", "scopes": ["playbacks:read"]}, status=201)
    looks = httpx.get(f"{stack.http.base_url}playbacks/{playback}", timeout=30,
                      headers={"Authorization": f"Bearer {token['token']}"}).json()
    with watching(looks["websocket_url"], "/t0") as client:
        assert client.info["capabilities"] == ["time"]
        assert client.message()
        client.control(playing=False, speed=2.0, seek=START)
        assert "does not support" in client.told("status")["message"]
    assert not stack.get(f"/playbacks/{playback}")["paused"]
    order(stack, playback, "stop")


def test_nobody_is_let_in_by_another_ticket(stack: Stack, bundle: dict[str, Any]) -> None:
    playback, other = start(stack, bundle, loop=True), start(stack, bundle, loop=True)
    url = url_of(stack, playback)
    for wrong, status in ((url[:-1], 401), (url.replace(playback, other), 401), (url.partition("?")[0], 422),
                          (url.replace("ticket=", "ticket=&x="), 422)):
        with pytest.raises(websocket.WebSocketBadStatusException, match=f"status {status}"):
            FoxgloveClient(wrong)
    bearer = {"Authorization": stack.http.headers["Authorization"]}
    assert httpx.get(url.replace("ws", "http", 1), headers=bearer, timeout=30).json()["code"] == "no_websocket"
    for each in (playback, other):
        order(stack, each, "stop")


def test_a_slow_viewer_misses_messages_and_holds_up_nobody(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_db3(folder / "pictures_0.db3", [("/picture", START + n * S // 50) for n in range(150)], size=400_000)
    playback = start(stack, upload(stack, folder), rate=1.0, loop=True)
    url = url_of(stack, playback)
    with watching(url, "/picture") as slow, watching(url, "/picture") as quick:
        assert slow.message()
        for _ in range(300):  # 120 MB, more than waits for anybody
            assert quick.message()
        times = [time_of(slow.message()) for _ in range(60)]
        assert any(later - sooner > S // 50 for sooner, later in itertools.pairwise(times))
        assert stack.get(f"/playbacks/{playback}")["position_ns"]
    order(stack, playback, "stop")


def test_a_viewer_whose_player_is_killed_is_told_and_may_come_again(stack: Stack, bundle: dict[str, Any]) -> None:
    playback = start(stack, bundle, loop=True)
    with watching(url_of(stack, playback), "/t0") as client:
        assert client.message()
        kill_player(playback)
        code, reason = client.ending()
        assert (code, "player is gone" in reason) == (1001, True)
    until(lambda: _seen(url_of(stack, playback)))
    order(stack, playback, "stop")


def _seen(url: str) -> bool:
    try:
        with watching(url, "/t0") as client:
            return bool(client.message())
    except (OSError, websocket.WebSocketException):  # web, or the next player, is not there yet
        return False


def kill_player(playback: str) -> None:
    marks = frozenset({f"SIMYARD_JOB_ID={playback}".encode()})
    processes.kill([pid for pid in processes.pids() if processes.carries(pid, marks)
                    and b"workers.player" in Path(f"/proc/{pid}/cmdline").read_bytes()])


def test_a_player_that_is_killed_is_started_again(stack: Stack, bundle: dict[str, Any]) -> None:
    playback = start(stack, bundle, loop=True)
    kill_player(playback)
    with frames(stack, playback) as shown:
        assert next(shown)[0] == "frame"
    assert order(stack, playback, "pause")["paused"]
    order(stack, playback, "stop")


def test_a_restart_of_web_is_told_and_the_same_address_is_good_again(stack: Stack, bundle: dict[str, Any]) -> None:
    playback = start(stack, bundle, loop=True)
    url = url_of(stack, playback)
    with watching(url, "/t0") as client:
        assert client.message()
        os.kill(stack.pids()["web"], signal.SIGTERM)
        assert client.ending() == (1012, "the server restarts; connect again")
    until(lambda: _seen(url))
    order(stack, playback, "stop")
