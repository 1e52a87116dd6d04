"""Scrapes do not pile up: one asks, nobody waits long, and what was answered is kept for a moment."""

import threading

import pytest

from shared.domain.errors import Unavailable
from tests.waiting import until
from webapp.metrics import readings
from webapp.metrics.readings import Reading


class Part:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = threading.Event()

    def answer(self) -> int:
        self.asked += 1
        self.let.wait(30)
        return self.asked


def test_many_at_once_ask_once_and_hear_the_same() -> None:
    part, heard = Part(), list[int | None]()
    reading = Reading(part.answer)
    threads = [threading.Thread(target=lambda: heard.append(reading.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: part.asked)
    part.let.set()
    for thread in threads:
        thread.join(30)
    assert heard == [1] * 8


def test_a_part_that_hangs_is_not_waited_for_nor_asked_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "WAIT_SECONDS", 0.01)
    part = Part()
    reading = Reading(part.answer)
    assert [reading.get() for _ in range(5)] == [None] * 5
    assert part.asked == 1
    part.let.set()
    assert until(reading.get) == 1


@pytest.mark.parametrize("error", [Unavailable("down"), ValueError("a bug")])
def test_a_part_that_fails_says_nothing_and_is_left_alone_for_a_while(error: Exception) -> None:
    asked = []

    def fail() -> None:
        asked.append(1)
        raise error

    reading = Reading(fail)
    assert (reading.get(), reading.get(), len(asked)) == (None, None, 1)


def test_it_is_asked_again_once_its_answer_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part()
    part.let.set()
    reading = Reading(part.answer)
    assert (reading.get(), reading.get()) == (1, 1)
    monkeypatch.setattr(readings, "monotonic", lambda: float("inf"))
    assert reading.get() == 2
