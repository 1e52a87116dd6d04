from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.event import listen, remove

from shared.domain.states import Kind
from shared.lifecycle import Lifecycle
from shared.persistence import admission
from shared.persistence.database import Database
from shared.persistence.quotas import Limits
from tests.shared.test_lifecycle import World, migrated_database
from tests.webapp.web import User, Web
from webapp.api.schemas.simulations import Queue
from webapp.queries import queue

__all__ = ["migrated_database"]

SUBMISSIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from([-1, 0, 1])),
                       min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=SUBMISSIONS, waiting=SUBMISSIONS, slots=st.integers(0, 6), most=st.one_of(st.none(), st.integers(1, 6)))
def test_the_position_is_when_admission_would_choose_it(
        migrated_database: Database, before: Any, waiting: Any, slots: int, most: int | None) -> None:
    with migrated_database.transaction() as tx:
        tx.execute(text("TRUNCATE simulations CASCADE"))
    world = World(migrated_database, slots=slots, limits=Limits(running=most))
    owners = [world.user, *(world.add_user() for _ in range(3))]
    for owner, count, priority in before:
        world.submit(count, owner=owners[owner], priority=priority)
    world.lifecycle.admit()
    for owner, count, priority in waiting:
        world.submit(count, owner=owners[owner], priority=priority)
    with migrated_database.transaction() as tx:
        chosen = admission.choose(tx, dict.fromkeys(Kind, 1000), most)
        rows = {row.id: row.simulation for row in tx.execute(text("SELECT id, simulation FROM jobs"))}
        order = [rows[job] for job in chosen]
        for simulation in {rows[job] for job in chosen}:
            seen = queue.read(tx, simulation, 1000, most, world.user)
            assert seen["position"] == order.index(simulation) + 1


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    yield World(database, slots=4, limits=Limits(running=2))


def held_by(world: World, simulation: UUID, viewer: UUID | None = None) -> list[str]:
    with world.database.transaction() as tx:
        found: list[str] = queue.read(tx, simulation, 4, 2, viewer or world.user)["held_by"]
        return found


def test_what_holds_is_told_in_words(world: World) -> None:
    mine, narrow = world.submit(3), world.submit(3, owner=world.add_user(), max_parallel=1)
    assert held_by(world, mine) == []
    world.lifecycle.admit()
    assert held_by(world, mine) == ["your limit: 2 of 2 running"]
    assert held_by(world, mine, world.add_user()) == ["its owner's limit: 2 of 2 running"]
    assert held_by(world, narrow) == ["its max_parallel: 1 of 1 running"]
    last = world.submit(2, owner=world.add_user())
    world.lifecycle.admit()
    assert held_by(world, last) == ["cluster full: 4 of 4 slots taken"]
    world.lifecycle.pause(paused=True)
    assert held_by(world, last) == ["paused by operator", "cluster full: 4 of 4 slots taken"]
    world.lifecycle.set_admission(is_open=False)
    assert "the service is being stopped" in held_by(world, last)


def test_what_is_tried_again_later_says_when(world: World) -> None:
    job = world.collecting("vanished")
    world.finish(job, "vanished")
    [words] = held_by(world, world.job(job).simulation)
    assert words.startswith("tried again at 20")


def test_nothing_that_waits_has_no_place(world: World) -> None:
    lifecycle: Lifecycle = world.lifecycle
    simulation = world.submit(1)
    lifecycle.cancel_simulation(simulation, actor="test")
    with world.database.transaction() as tx:
        seen = queue.read(tx, simulation, 4, 2, world.user)
    assert (seen["queued"], seen["position"], seen["held_by"]) == (0, None, [])


def test_the_queue_is_of_one_moment(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=10)
    web.settle()
    moved: list[str] = []

    def move(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "max_parallel, s.stop_requested" in statement and not moved:  # between the two that it reads
            moved.append(simulation)
            web.connections.lifecycle.cancel_simulation(UUID(simulation), actor="test")
            web.settle()

    listen(Engine, "after_cursor_execute", move)
    try:
        seen = operator.get(f"/simulations/{simulation}/queue")
    finally:
        remove(Engine, "after_cursor_execute", move)
    assert moved and (seen["queued"], seen["running"], seen["position"]) == (6, 4, 1)
    assert operator.get(f"/simulations/{simulation}/queue")["queued"] == 0


def test_the_queue_over_http(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=10)
    web.settle()
    seen = operator.get(f"/simulations/{simulation}/queue")
    Queue.model_validate(seen)
    assert seen["slots"] == {"used": 4, "total": 4} and seen["position"] == 1 and seen["queued"] == 6
    assert seen["held_by"] == ["cluster full: 4 of 4 slots taken"]
