from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.domain.errors import Unavailable
from shared.domain.events import Event
from shared.domain.states import State
from tests.waiting import until
from webapp.progress import Progress, Report


class FakeDatabase:
    def __init__(self) -> None:
        self.down = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self.down:
            raise Unavailable("down")
        yield


class FakePubSub:
    def __init__(self) -> None:
        self.down = False
        self.told: list[Event] = []

    def publish(self, events: Sequence[Event]) -> None:
        if self.down:
            raise Unavailable("down")
        self.told += events


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.written: list[list[tuple[UUID, int, dict[str, Any]]]] = []
        self.database, self.pubsub = FakeDatabase(), FakePubSub()
        monkeypatch.setattr("webapp.progress.writes.set_progress", lambda tx, latest: self.written.append(list(latest)))
        monkeypatch.setattr("webapp.progress.time.monotonic", lambda: self.now)
        monkeypatch.setattr("webapp.progress.threading.Thread.start", lambda thread: None)
        self.progress = Progress(self.database, self.pubsub)  # type: ignore[arg-type]

    def report(self, job: UUID, percent: float) -> None:
        self.progress.report(Report(job, 1, uuid4(), "instance", State.RUNNING, {"percent": percent}))

    def told(self) -> list[float]:
        return [(event.progress or {})["percent"] for event in self.pubsub.told]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_job_is_told_of_once_a_second_at_most_and_its_last_word_in_the_end(world: World) -> None:
    job, other = uuid4(), uuid4()
    for percent in (1, 2, 3):
        world.report(job, percent)
    world.report(other, 50)
    assert world.told() == [1, 50]
    world.now += 1
    world.progress._step(write=False)
    assert world.told() == [1, 50, 3]
    assert all(event.number is None for event in world.pubsub.told)


def test_many_reports_are_one_write(world: World) -> None:
    jobs = [uuid4() for _ in range(3)]
    for percent in (1, 2):
        for job in jobs:
            world.report(job, percent)
    world.progress.write()
    world.progress.write()
    assert world.written == [[(job, 1, {"percent": 2}) for job in jobs]]


def test_what_could_not_be_written_is_kept_unless_newer_came(world: World) -> None:
    first, second = uuid4(), uuid4()
    world.report(first, 1)
    world.report(second, 1)
    world.database.down = True
    world.progress.write()
    world.report(second, 2)
    world.database.down = False
    world.progress.write()
    assert {job: progress["percent"] for job, _, progress in world.written[0]} == {first: 1, second: 2}


def test_a_redis_that_is_down_is_no_error(world: World) -> None:
    world.pubsub.down = True
    world.report(uuid4(), 1)
    world.progress.write()
    assert len(world.written) == 1


def test_closing_writes_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr("webapp.progress.writes.set_progress", lambda tx, latest: written.extend(latest))
    progress = Progress(FakeDatabase(), FakePubSub())  # type: ignore[arg-type]
    progress.report(Report(uuid4(), 1, uuid4(), "instance", State.RUNNING, {"percent": 1}))
    progress.close()
    until(lambda: len(written) == 1)
