"""A recording played by a running stack, watched over HTTP and through the Foxglove protocol."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_ingests import upload
from tests.stack import ENDED, Stack
from tests.waiting import until
from tests.workers.bags.making import START, write_db3
from tests.workers.test_player import FoxgloveClient

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


def test_a_viewer_of_the_foxglove_protocol_moves_it_too(stack: Stack, bundle: dict[str, Any]) -> None:
    playback = start(stack, bundle, loop=True)
    client = FoxgloveClient(stack.get(f"/playbacks/{playback}")["websocket_url"])
    try:
        client.subscribe(client.channels[0]["id"])
        assert client.message()
        client.control(playing=False, speed=2.0, seek=START + 5 * S)
        stand = until(lambda: (found := stack.get(f"/playbacks/{playback}"))["paused"] and found)
        assert (stand["position_ns"], stand["rate"]) == (START + 5 * S, 2.0)
    finally:
        client.close()
    order(stack, playback, "stop")


def test_a_player_that_is_killed_is_started_again(stack: Stack, bundle: dict[str, Any]) -> None:
    from workers.runtimes import processes

    playback = start(stack, bundle, loop=True)
    marks = frozenset({f"SIMYARD_JOB_ID={playback}".encode()})
    processes.kill([pid for pid in processes.pids() if processes.carries(pid, marks)
                    and b"workers.player" in Path(f"/proc/{pid}/cmdline").read_bytes()])
    with frames(stack, playback) as shown:
        assert next(shown)[0] == "frame"
    assert order(stack, playback, "pause")["paused"]
    order(stack, playback, "stop")
