"""The position of a playback, on a clock that the test moves."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import until
from workers.deck import Deck

S = 10**9


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def deck(clock: Clock, **options: object) -> Deck:
    """One whose first turn has begun."""
    made = Deck(10 * S, 20 * S, now=clock, **options)  # type: ignore[arg-type]
    made.begin(0)
    return made


def test_time_stands_still_until_the_first_message_of_a_turn_is_at_hand(clock: Clock) -> None:
    playing = Deck(10 * S, 20 * S, now=clock)
    clock.at += 5
    assert playing.stand().position_ns == 10 * S
    playing.begin(0)
    clock.at += 1
    assert playing.stand().position_ns == 11 * S
    playing.seek(15 * S)
    playing.begin(0)  # too late: that turn is over
    clock.at += 1
    assert playing.stand().position_ns == 15 * S
    playing.begin(1)
    playing.begin(1)
    clock.at += 1
    assert playing.stand().position_ns == 16 * S


def test_it_moves_with_time_at_its_rate(clock: Clock) -> None:
    playing = deck(clock, rate=2.0)
    clock.at += 1.5
    assert playing.stand().position_ns == 13 * S
    playing.set_rate(0.5)
    clock.at += 2
    assert playing.stand().position_ns == 14 * S


def test_it_stands_still_while_paused(clock: Clock) -> None:
    playing = deck(clock)
    clock.at += 1
    playing.pause()
    clock.at += 5
    assert (playing.stand().position_ns, playing.stand().playing) == (11 * S, False)
    playing.play()
    clock.at += 1
    assert playing.stand().position_ns == 12 * S


def test_a_jump_begins_another_turn_and_stays_within_the_bounds(clock: Clock) -> None:
    playing = deck(clock)
    first = playing.stand().turn
    for to, there in ((15 * S, 15 * S), (0, 10 * S), (99 * S, 20 * S)):
        playing.seek(to)
        assert playing.stand().position_ns == there
    assert playing.stand().turn == first + 3


def test_at_its_end_it_stands_and_plays_again_from_the_start(clock: Clock) -> None:
    playing = deck(clock)
    clock.at += 60
    assert (playing.stand().position_ns, playing.stand().ended, playing.stand().playing) == (20 * S, True, False)
    playing.play()
    assert (playing.stand().position_ns, playing.stand().ended) == (10 * S, False)


@pytest.mark.parametrize("rate", [0, 0.09, 50.1, float("nan")])
def test_a_rate_that_is_none_is_refused(clock: Clock, rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        deck(clock).set_rate(rate)


def test_waiting_ends_when_the_time_has_come_or_the_turn_is_over(clock: Clock) -> None:
    playing = deck(clock)
    assert playing.wait_for(10 * S, 0)
    assert not playing.wait_for(10 * S, 7)
    over: list[bool] = []
    waiting = threading.Thread(target=lambda: over.append(playing.wait_for(19 * S, 0)))
    waiting.start()
    playing.seek(12 * S)
    waiting.join(30)
    assert over == [False]


def test_a_step_shows_one_message_and_stands_there(clock: Clock) -> None:
    playing = deck(clock)
    playing.pause()
    shown: list[int] = []

    def show() -> None:
        for second in range(11, 20):
            if not playing.wait_for(second * S, 0):
                return
            shown.append(second)

    showing = threading.Thread(target=show)
    showing.start()
    for count in (1, 2):
        playing.step()
        until(lambda: len(shown) == count)  # noqa: B023 - called at once
        assert playing.stand().position_ns == (10 + count) * S
    playing.close()
    showing.join(30)
    assert shown == [11, 12]


def test_a_loop_begins_anew_and_others_wait_to_be_moved(clock: Clock) -> None:
    looping = deck(clock, loop=True)
    clock.at += 10
    looping.wait_for_end(0)
    looping.begin(1)
    assert (looping.stand().turn, looping.stand().position_ns) == (1, 10 * S)
    once = deck(clock)
    clock.at += 10
    waiting = threading.Thread(target=lambda: once.wait_for_end(0))
    waiting.start()
    once.seek(11 * S)
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_loop_of_a_moment_does_not_spin() -> None:
    looping = Deck(10 * S, 10 * S, loop=True)
    turns = 0
    until_then = time.monotonic() + 0.35
    while time.monotonic() < until_then:
        looping.begin(turns)
        looping.wait_for_end(turns)
        turns += 1
    assert turns <= 5


@given(st.lists(st.tuples(st.sampled_from(["play", "pause", "step", "seek", "rate", "time"]), st.floats(0.1, 50))))
def test_whatever_is_done_the_position_stays_within_and_never_runs_back_by_itself(
        deeds: list[tuple[str, float]]) -> None:
    clock = Clock()
    playing = deck(clock)
    before = playing.stand()
    for deed, value in deeds:
        if deed == "seek":
            playing.seek(int(value * S))
        elif deed == "rate":
            playing.set_rate(value)
        elif deed == "time":
            clock.at += value
        else:
            getattr(playing, deed)()
        now = playing.stand()
        assert 10 * S <= now.position_ns <= 20 * S
        assert now.position_ns >= before.position_ns or now.turn > before.turn
        before = now
