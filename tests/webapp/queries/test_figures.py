"""What a monitor is told of the jobs, on a real Postgres: exact, and what admission itself would do."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from shared.domain.moves import Move
from shared.domain.states import Kind, State
from shared.lifecycle import Lifecycle
from shared.persistence.database import Database
from shared.persistence.models import NOW, attempts, installation, jobs, leases
from shared.persistence.queries import hold_lease
from tests.shared.test_lifecycle_of_ingests import Shelf
from webapp.queries import figures
from webapp.queries.figures import Figures, Leader

SLOTS = dict.fromkeys(map(str, Kind), 4)


def read(database: Database, slots: Mapping[str, int] = SLOTS) -> Figures:
    with database.snapshot() as tx:
        return figures.read(tx, slots)


def fill_every_state(shelf: Shelf) -> None:
    """An instance in each state there is, and ingests in some."""
    for outcome in ("success", "crashed"):
        shelf.finish(shelf.collecting(outcome), outcome)
    shelf.lifecycle.cancel_simulation(shelf.submit(3), actor="test")
    shelf.collecting()
    shelf.collecting_ingest()
    for job in (shelf.running(), started_ingest(shelf)):
        shelf.lifecycle.cancel_job(job, actor="test")
    shelf.running()
    shelf.admitted()
    shelf.submit(9)
    for _ in range(5):
        shelf.ingest()


def started_ingest(shelf: Shelf) -> UUID:
    job = shelf.ingest()
    shelf.lifecycle.admit()
    assert shelf.pass_gate(job)
    return job


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database)


def test_every_job_is_counted_in_its_state(shelf: Shelf) -> None:
    fill_every_state(shelf)
    with shelf.database.transaction() as tx:
        counted = {(row.kind, row.state): row.count for row in tx.execute(
            select(jobs.c.kind, jobs.c.state, func.count().label("count")).group_by(jobs.c.kind, jobs.c.state))}
    found = read(shelf.database)
    assert {key: number for key, number in found.jobs.items() if number} == counted
    assert {state for kind, state in counted if kind == Kind.INSTANCE} == set(State)
    assert found.used == {"instance": 4, "playback": 0, "ingest": 2}
    assert found.upkeep == 4


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(free=st.integers(0, 6), limits=st.lists(st.tuples(st.integers(1, 4), st.none() | st.integers(1, 3),
                                                         st.integers(0, 2)), max_size=5))
def test_a_launch_is_due_for_each_job_that_admission_would_let_in(
        shelf: Shelf, free: int, limits: list[tuple[int, int | None, int]]) -> None:
    slots = dict.fromkeys(map(str, Kind), free)
    made = [shelf.submit(count, max_parallel=limit) for count, limit, _ in limits]
    with shelf.database.transaction() as tx:
        for simulation, (_, _, later) in zip(made, limits, strict=True):
            tx.execute(update(jobs).where(jobs.c.simulation == simulation, jobs.c.index < later)
                       .values(not_before=NOW + timedelta(hours=1)))
    due = read(shelf.database, slots).launches[Kind.INSTANCE]
    lifecycle = Lifecycle(shelf.database, shelf.told, slots)  # type: ignore[arg-type]
    assert lifecycle.admit() == due
    assert read(shelf.database, slots).launches[Kind.INSTANCE] == due  # under way now
    for simulation in made:
        lifecycle.cancel_simulation(simulation, actor="test")
    assert read(shelf.database, slots).launches[Kind.INSTANCE] == 0


def test_a_launch_is_due_no_more_once_the_gate_is_passed(shelf: Shelf) -> None:
    job, ingest = shelf.admitted(), shelf.ingest()
    assert read(shelf.database).launches == {"instance": 1, "playback": 0, "ingest": 1}
    shelf.lifecycle.admit()
    assert shelf.pass_gate(job)
    assert read(shelf.database).launches == {"instance": 0, "playback": 0, "ingest": 1}
    assert shelf.pass_gate(ingest)
    assert read(shelf.database).launches == {"instance": 0, "playback": 0, "ingest": 0}


@pytest.mark.parametrize("change", [{"admission_open": False}, {"paused": True}])
def test_nothing_queued_is_due_while_nothing_is_let_in(shelf: Shelf, change: dict[str, bool]) -> None:
    shelf.admitted()
    shelf.submit(9)
    shelf.ingest()
    with shelf.database.transaction() as tx:
        tx.execute(update(installation).values(change))
    assert read(shelf.database).launches == {"instance": 1, "playback": 0, "ingest": 0}


def test_phases_are_timed_from_what_the_rows_say(shelf: Shelf) -> None:
    for seconds in range(1, 101):
        job = shelf.queued()
        with shelf.database.transaction() as tx:
            moment = tx.execute(select(NOW)).scalar_one() - timedelta(minutes=5)
            tx.execute(update(jobs).where(jobs.c.id == job).values(
                state="FAILED", created_at=moment - timedelta(seconds=60), attempt=2,
                ended_at=moment + timedelta(seconds=2 + seconds)))
            tx.execute(attempts.insert(), [
                {"job": job, "number": 1, "gate_passed_at": moment - timedelta(seconds=50), "started_at": None,
                 "ended_at": moment - timedelta(seconds=40)},
                {"job": job, "number": 2, "gate_passed_at": moment, "started_at": moment + timedelta(seconds=2),
                 "ended_at": moment + timedelta(seconds=2 + seconds)}])
    found = {times.phase: times for times in read(shelf.database).phases}
    assert {times.kind for times in found.values()} == {"instance"}
    assert {phase: times.jobs for phase, times in found.items()} == dict.fromkeys(
        ("waiting", "starting", "running", "collecting"), 100)
    assert found["running"].quantile_seconds == pytest.approx([50.5, 95.05, 99.01])
    assert found["running"].total_seconds == pytest.approx(5050)
    for phase, seconds in {"waiting": 10, "starting": 2, "collecting": 0}.items():
        assert found[phase].quantile_seconds == pytest.approx([seconds] * 3)


def test_phases_of_what_ended_long_ago_or_never_started_are_not_told(shelf: Shelf) -> None:
    shelf.finish(shelf.collecting())
    cancelled = shelf.queued()
    shelf.lifecycle.cancel_job(cancelled, actor="test")
    assert {times.jobs for times in read(shelf.database).phases} == {1}
    with shelf.database.transaction() as tx:
        tx.execute(update(jobs).values(ended_at=jobs.c.ended_at - timedelta(minutes=16)))
    assert read(shelf.database).phases == []


def test_recorders_are_told_by_how_they_ended(shelf: Shelf) -> None:
    ways: list[tuple[str, dict[str, Any]]] = [
        ("well", {"facts": {}}), ("well", {"facts": {}, "started_at": None, "exit_code": 1}),
        ("replaced", {"facts": {}, "salvages": 1}), ("failed", {"salvages": 3}),
        ("failed", {"facts": {}, "kept": True}), ("failed", {"facts": {}, "outcome": "upload_failed"}),
        ("nothing ran", {"started_at": None, "exit_code": None})]
    for _, columns in ways:
        job = shelf.collecting()
        shelf.finish(job)
        with shelf.database.transaction() as tx:
            tx.execute(update(attempts).where(attempts.c.job == job).values(columns))
    shelf.finish(shelf.collecting_ingest(), "upload_failed")
    shelf.collecting()
    assert read(shelf.database).recorders == {"well": 2, "replaced": 1, "failed": 3}
    with shelf.database.transaction() as tx:
        tx.execute(update(jobs).values(ended_at=jobs.c.ended_at - timedelta(minutes=16)))
    assert read(shelf.database).recorders == {"well": 0, "replaced": 0, "failed": 0}


def test_who_leads_is_told_until_the_lease_has_run_out(database: Database) -> None:
    assert read(database).leader == Leader("", leads=False)
    with database.transaction() as tx:
        assert hold_lease(tx, "watcher", "robot-watcher-a:7:0f1e", timedelta(minutes=1))
    assert read(database).leader == Leader("robot-watcher-a", leads=True)
    with database.transaction() as tx:
        tx.execute(update(leases).values(until=NOW))
    assert read(database).leader == Leader("robot-watcher-a", leads=False)


def test_moves_meanwhile_change_nothing_of_one_reading(shelf: Shelf) -> None:
    job = shelf.admitted()
    with shelf.database.snapshot() as tx:
        before = figures.read(tx, SLOTS)
        assert shelf.lifecycle.transition_many([Move(job, 1, State.STARTING, State.QUEUED, counted=False)], actor="t")
        assert figures.read(tx, SLOTS) == before
    assert read(shelf.database).used[Kind.INSTANCE] == 0
