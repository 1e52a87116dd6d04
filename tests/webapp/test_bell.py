import threading
from collections.abc import Sequence
from contextvars import ContextVar, copy_context
from uuid import uuid4

import pytest

from shared.domain.errors import Unavailable
from shared.domain.states import State
from shared.messaging.queue import Work
from webapp.bell import Bell

WHO: ContextVar[str | None] = ContextVar("who", default=None)


class FakeLifecycle:
    """Admits one job a round, as long as it lasts; may be held and may fail."""

    def __init__(self, bell: Bell, to_admit: int = 0) -> None:
        self.bell = bell
        self.to_admit = to_admit
        self.sent: list[list[Work]] = []
        self.settled: list[list[Work]] = []
        self.contexts: list[str | None] = []
        self.broker_is_up = True
        self.rounds = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()
        self.error: Exception | None = None

    def admit(self) -> int:
        self.entered.set()
        assert self.go_on.wait(30)
        self.rounds += 1
        if self.error:
            raise self.error
        if not self.to_admit:
            return 0
        self.to_admit -= 1
        self.bell.ring([Work(uuid4(), State.STARTING)])
        return 1

    def send(self, work: Sequence[Work]) -> bool:
        self.sent.append(list(work))
        self.contexts.append(WHO.get())
        return self.broker_is_up

    def settle(self, work: Sequence[Work] = ()) -> None:
        self.settled.append(list(work))


def make(to_admit: int = 0) -> tuple[Bell, FakeLifecycle]:
    bell = Bell()
    lifecycle = FakeLifecycle(bell, to_admit)
    bell.serve(lifecycle)  # type: ignore[arg-type]
    return bell, lifecycle


def test_what_admission_rings_belongs_to_the_same_round() -> None:
    bell, lifecycle = make(to_admit=5)
    stop = (uuid4(), State.STOPPING)
    bell.ring([stop])
    assert bell.wait(30)
    assert lifecycle.rounds == 1
    assert lifecycle.sent == [[stop]]
    [work] = lifecycle.settled
    assert [state for _, state, _ in work] == [State.STARTING]


def test_many_commits_share_one_round() -> None:
    bell, lifecycle = make()
    lifecycle.go_on.clear()
    bell.ring(())
    assert lifecycle.entered.wait(30)
    for _ in range(100):
        bell.ring([(uuid4(), State.STOPPING)])
    lifecycle.go_on.set()
    assert bell.wait(30)
    assert (len(lifecycle.settled), len(lifecycle.sent)) == (2, 100)


def test_what_a_commit_makes_due_is_sent_in_the_name_of_who_rang() -> None:
    bell, lifecycle = make()
    for name in ("first", "second", "third"):
        context = copy_context()
        context.run(WHO.set, name)
        context.run(bell.ring, [Work(uuid4(), State.STOPPING)])
    assert bell.wait(30)
    assert lifecycle.contexts == ["first", "second", "third"]


def test_a_broker_that_is_down_is_waited_for_once_a_round() -> None:
    bell, lifecycle = make()
    lifecycle.broker_is_up = False
    lifecycle.go_on.clear()
    bell.ring(())
    assert lifecycle.entered.wait(30)
    for _ in range(9):
        bell.ring([Work(uuid4(), State.STOPPING)])
    lifecycle.go_on.set()
    assert bell.wait(30)
    assert (len(lifecycle.sent), len(lifecycle.settled)) == (1, 2)


def test_a_ring_during_a_round_is_never_forgotten() -> None:
    bell, lifecycle = make()
    for _ in range(200):
        before = lifecycle.rounds
        bell.ring(())
        assert bell.wait(30)
        assert lifecycle.rounds > before


@pytest.mark.parametrize("error", [Unavailable("down"), RuntimeError("a bug")])
def test_a_failure_is_logged_and_the_rest_is_done(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    bell, lifecycle = make()
    lifecycle.error = error
    bell.ring([(uuid4(), State.STOPPING)])
    assert bell.wait(30)
    assert (len(lifecycle.sent), lifecycle.settled) == (1, [[]])
    assert "left to the sweep" in caplog.text
    lifecycle.error = None
    bell.ring(())
    assert bell.wait(30)
    assert len(lifecycle.settled) == 2
