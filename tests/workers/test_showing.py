"""What the player does between reading and showing: too late is dropped, latched is told to who comes late, idle
ends."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.waiting import until
from tests.workers.test_deck import Clock
from workers import player
from workers.audience import Latched, Streams
from workers.bags.extract import Message
from workers.deck import Deck
from workers.player import Ahead, Show, bounds, stand_by

S = 10**9
END = 2**62


def topic(name: str, *, latched: bool = False, depth: int = 1) -> Any:
    return SimpleNamespace(name=name, latched=latched, depth=depth, first_ns=0, last_ns=20 * S)


INDEX: Any = SimpleNamespace(topics=[topic("/odom"), topic("/map", latched=True), topic("/two", latched=True, depth=2),
                                     topic("/tf_static", latched=True)])


def line(message: Message) -> bytes:
    return json.dumps({"topic": INDEX.topics[message.topic].name, "t_ns": message.t_ns}).encode() + b"\n"


def message(place: int, seconds: float) -> Message:
    return Message(place, int(seconds * S), b"x", int(seconds * S))


def taken(streams: Streams, stream: Any) -> bytes:
    streams.close()
    return b"".join(stream.pieces())


def test_what_is_too_late_is_dropped_and_counted() -> None:
    clock = Clock()
    deck = Deck(0, 100 * S, now=clock, rate=2.0)
    deck.begin(0)
    streams = Streams(line, Latched(INDEX))
    shown: list[Message] = []
    audience: Any = SimpleNamespace(
        streams=streams, show=lambda message: (shown.append(message), streams.show(message)))
    show = Show(INDEX, SimpleNamespace(), None, deck, audience)  # type: ignore[arg-type]
    stream = streams.join()
    clock.at += 10  # the position is 20 s; half a second of ours is one of the recording's
    for at in (18.9, 19.1, 20.0):
        show._show(message(0, at))
    assert [each.t_ns for each in shown] == [int(19.1 * S), 20 * S]
    assert b'event: dropped\ndata: {"count": 1}\n\n' in taken(streams, stream)


def test_who_joins_late_is_told_what_is_latched_and_no_more_than_it_keeps() -> None:
    streams = Streams(line, Latched(INDEX))
    streams.turn()
    for place, at in ((0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2)):
        streams.show(message(place, at))
    data = taken(streams, streams.join())
    told = [json.loads(each.removeprefix(b"data: ")) for each in data.split(b"\n") if each.startswith(b"data: ")]
    assert [(each["topic"], each["t_ns"] // S) for each in told] == [
        ("/map", 2), ("/two", 2), ("/two", 3), ("/tf_static", 1), ("/tf_static", 2)]
    assert data.count(b": latched ") == len(told)


def test_a_new_turn_forgets_what_was_latched() -> None:
    streams = Streams(line, Latched(INDEX))
    streams.show(message(1, 5))
    before = streams.join()
    streams.turn()
    after = streams.join()
    assert b": turn\n\n" in taken(streams, before)
    assert list(after.pieces()) == []


def test_a_stream_that_is_not_read_keeps_the_newest_and_says_how_many_it_lost() -> None:
    streams = Streams(line, Latched(INDEX))
    stream = streams.join()
    for number in range(507):
        streams.show(message(0, number))
    data = taken(streams, stream)
    assert data.startswith(b'event: dropped\ndata: {"count": 7}')
    assert data.count(b"event: frame") == 500
    assert str(506 * S).encode() in data


def test_reading_ahead_is_bounded_and_ends_when_nobody_wants_it() -> None:
    read: list[int] = []

    def source() -> Any:
        for number in range(10**6):
            read.append(number)
            yield message(0, number)

    ahead = Ahead(lambda: END, source())
    until(lambda: len(read) > player.AHEAD_MESSAGES)
    assert len(read) <= player.AHEAD_MESSAGES + 1
    ahead.close()
    until(lambda: not any(thread.name == "ahead" and thread.is_alive() for thread in threading.enumerate()))


def test_reading_ahead_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "AHEAD_BYTES", 1000)
    read: list[int] = []

    def source() -> Any:
        for number in range(100):
            read.append(number)
            yield Message(0, number, bytes(400), number)

    ahead = Ahead(lambda: END, source())
    until(lambda: len(read) == 4)
    assert len(list(ahead)) == 100


def test_only_a_few_messages_are_read_from_beyond_the_horizon() -> None:
    read: list[int] = []
    horizon = [50 * S]

    def source() -> Any:
        for number in range(1000):
            read.append(number)
            yield message(0, number)

    ahead = Ahead(lambda: horizon[0], source())
    until(lambda: len(read) == player.AHEAD_ALWAYS + 1)
    horizon[0] = 500 * S
    until(lambda: len(read) == 502)
    ahead.close()


def test_what_breaks_the_reading_is_raised_where_it_is_awaited() -> None:
    def source() -> Any:
        yield message(0, 1)
        raise ValueError("torn")

    found = iter(Ahead(lambda: END, source()))
    assert next(found).t_ns == S
    with pytest.raises(ValueError, match="torn"):
        next(found)


@pytest.mark.parametrize(("start", "end", "there"), [
    (None, None, (0, 20 * S)), (5 * S, 9 * S, (5 * S, 9 * S - 1)), (-S, 99 * S, (0, 20 * S))])
def test_bounds_are_those_wanted_within_the_recording(start: int | None, end: int | None, there: Any) -> None:
    assert bounds(INDEX, {"start_ns": start, "end_ns": end}) == there


def test_it_ends_when_nobody_has_looked_for_long_and_not_before(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(player, "TELL_SECONDS", 0.01)
    viewers = [1]

    class Audience:
        def __len__(self) -> int:
            return viewers[0]

    audience: Any = Audience()
    desk: Any = SimpleNamespace(stopped=threading.Event())
    standing = threading.Thread(target=stand_by, args=(tmp_path / "progress.jsonl", Deck(0, S), desk, audience))
    standing.start()
    standing.join(0.3)
    assert standing.is_alive()
    viewers[0] = 0
    standing.join(30)
    assert not standing.is_alive()
    said = [json.loads(each) for each in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert said[0]["message"] == "playing"
