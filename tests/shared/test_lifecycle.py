"""The writer of states, on a real Postgres: what is written, and what two of everything at once leave."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, text, update

from shared.domain.errors import IllegalTransition, InvalidSpec, NotFound, QuotaExceeded, Unavailable
from shared.domain.events import Event
from shared.domain.moves import Move, Submission
from shared.domain.specs import Program, Retry
from shared.domain.states import ENDED, LIVE, MOVES, SUCCESS, Kind, State, derive
from shared.lifecycle import End, Lifecycle
from shared.messaging.queue import Work
from shared.persistence.bundles import BundleRecord
from shared.persistence.database import Database
from shared.persistence.models import attempts, events, installation, jobs, simulations, users
from shared.persistence.numbering import NUMBERING_LOCK, number_events
from shared.persistence.queries import Idempotency
from shared.persistence.quotas import NO_LIMITS, Limits
from tests.databases import Lender
from tests.waiting import until


@dataclass
class FakeAnnouncer:
    sent: list[Work] = field(default_factory=list)
    published: list[Event] = field(default_factory=list)

    def send(self, work: Sequence[Work]) -> None:
        self.sent += work

    def publish(self, told: Sequence[Event]) -> None:
        self.published += told


class World:
    """A lifecycle on a database, with a user, and short words for what tests do."""

    def __init__(self, database: Database, slots: int = 4, limits: Limits = NO_LIMITS) -> None:
        self.database = database
        self.told = FakeAnnouncer()
        self.lifecycle = Lifecycle(database, self.told, dict.fromkeys(Kind, slots), limits=limits)  # type: ignore[arg-type]
        self.user = self.add_user()

    def add_user(self, **limits: int) -> UUID:
        user = uuid4()
        with self.database.transaction() as tx:
            tx.execute(insert(users).values(id=user, email=str(user), password_hash="x", role="operator", **limits))
        return user

    def submit(self, count: int = 1, *, owner: UUID | None = None, priority: int = 0, max_parallel: int | None = None,
               idempotency: Idempotency | None = None, **program: Any) -> UUID:
        simulation = uuid4()
        self.lifecycle.submit(Submission(
            simulation, "test", owner or self.user, "team", {}, "robot", 1, {},
            Program(command=("/bin/true",), **program), 7, priority, max_parallel,
            [({"place": place}, place) for place in range(count)]), idempotency)
        return simulation

    def jobs(self, simulation: UUID) -> list[Any]:
        with self.database.transaction() as tx:
            return list(tx.execute(select(jobs).where(jobs.c.simulation == simulation).order_by(jobs.c.index)))

    def job(self, job: UUID) -> Any:
        with self.database.transaction() as tx:
            return tx.execute(select(jobs).where(jobs.c.id == job)).one()

    def simulation(self, simulation: UUID) -> Any:
        with self.database.transaction() as tx:
            return tx.execute(select(simulations).where(simulations.c.id == simulation)).one()

    def states(self, simulation: UUID) -> list[str]:
        return [row.state for row in self.jobs(simulation)]

    def pass_gate(self, job: UUID, attempt: int = 1) -> bool:
        return self.lifecycle.pass_gate(job, attempt, host="h", boot="b", token_hash="t")

    def move(self, job: UUID, new: State, **fields: Any) -> bool:
        row = self.job(job)
        return bool(self.lifecycle.transition_many(
            [Move(job, row.attempt, State(row.state), new, **fields)], actor="test"))

    def queued(self, **program: Any) -> UUID:
        job: UUID = self.jobs(self.submit(**program))[0].id
        return job

    def admitted(self, **program: Any) -> UUID:
        job = self.queued(**program)
        self.lifecycle.admit()
        return job

    def gated(self, **program: Any) -> UUID:
        job = self.admitted(**program)
        assert self.pass_gate(job)
        return job

    def running(self, **program: Any) -> UUID:
        job = self.gated(**program)
        assert self.move(job, State.RUNNING)
        return job

    def collecting(self, outcome: str = SUCCESS, **program: Any) -> UUID:
        job = self.running(**program)
        assert self.move(job, State.COLLECTING, outcome=outcome)
        return job

    def finish(self, job: UUID, outcome: str = SUCCESS, **fields: Any) -> State | None:
        return self.lifecycle.finish(End(job, self.job(job).attempt, outcome, **fields))

    def history(self, simulation: UUID) -> list[Any]:
        with self.database.transaction() as tx:
            return list(tx.execute(select(events).where(events.c.simulation == simulation).order_by(events.c.number)))


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def test_a_submission_is_one_event_and_all_its_jobs(world: World) -> None:
    simulation = world.submit(3)
    assert world.states(simulation) == ["QUEUED"] * 3
    assert [row.parameters for row in world.jobs(simulation)] == [{"place": 0}, {"place": 1}, {"place": 2}]
    (event,) = world.history(simulation)
    assert (event.kind, event.job, event.to_state, event.number) == ("simulation", None, "QUEUED", 1)
    assert world.simulation(simulation).counts == dict.fromkeys(State, 0) | {"QUEUED": 3}


def test_a_life_that_goes_well(world: World) -> None:
    job = world.collecting()
    assert world.finish(job, passed=True, metrics={"length": 2.5}) == State.SUCCEEDED
    row = world.job(job)
    assert (row.state, row.outcome, row.passed, row.metrics) == ("SUCCEEDED", "success", True, {"length": 2.5})
    assert row.started_at is not None
    assert row.ended_at is not None
    simulation = world.simulation(row.simulation)
    assert (simulation.state, simulation.verdicts) == ("SUCCEEDED", {"passed": 1, "not_passed": 0, "none": 0})
    moves = [(event.from_state, event.to_state) for event in world.history(row.simulation) if event.job]
    assert moves == [("QUEUED", "STARTING"), ("STARTING", "RUNNING"), ("RUNNING", "COLLECTING"),
                     ("COLLECTING", "SUCCEEDED")]


def test_each_state_calls_for_at_most_one_task(world: World) -> None:
    job = world.collecting()
    world.finish(job)
    assert [work.state for work in world.told.sent if work.job == job] == [
        State.STARTING, State.RUNNING, State.COLLECTING]


def test_what_is_published_is_what_was_numbered(world: World) -> None:
    job = world.collecting()
    world.finish(job)
    assert [event.number for event in world.told.published] == list(range(1, len(world.told.published) + 1))
    assert [event.number for event in world.told.published] == [
        event.number for event in world.history(world.job(job).simulation)]


# -- the gate --------------------------------------------------------------------------------------------------------


def test_the_gate_lets_exactly_one_of_many_through(world: World) -> None:
    simulation = world.submit()
    world.lifecycle.admit()
    job = world.jobs(simulation)[0].id
    assert sum(at_once([lambda: world.pass_gate(job)] * 8)) == 1


def test_no_gate_for_what_is_not_starting(world: World) -> None:
    queued = world.jobs(world.submit())[0].id
    assert not world.pass_gate(queued)
    cancelled = world.jobs(world.submit())[0].id
    world.lifecycle.admit()
    world.lifecycle.cancel_job(cancelled, actor="test")
    assert not world.pass_gate(cancelled)


def test_no_gate_for_another_attempt(world: World) -> None:
    simulation = world.submit()
    world.lifecycle.admit()
    assert not world.pass_gate(world.jobs(simulation)[0].id, attempt=2)


def test_cancel_and_gate_never_both_win(world: World) -> None:
    for _ in range(10):
        simulation = world.submit()
        world.lifecycle.admit()
        job = world.jobs(simulation)[0].id
        passed, _ = at_once([lambda job=job: world.pass_gate(job),  # type: ignore[misc]
                             lambda job=job: world.lifecycle.cancel_job(job, actor="test")])  # type: ignore[misc]
        assert world.job(job).state == ("STOPPING" if passed else "CANCELLED")


# -- moves -----------------------------------------------------------------------------------------------------------


def test_a_move_from_a_state_that_is_no_more_is_left_out(world: World) -> None:
    job = world.collecting()
    stale = Move(job, 1, State.RUNNING, State.STOPPING)
    assert world.lifecycle.transition_many([stale], actor="test") == []
    assert world.job(job).state == "COLLECTING"


def test_a_move_of_an_older_attempt_is_left_out(world: World) -> None:
    job = world.collecting("vanished")
    assert world.finish(job, "vanished") == State.QUEUED
    assert world.lifecycle.finish(End(job, 1, SUCCESS)) is None
    assert world.job(job).attempt == 2


@pytest.mark.parametrize(("running", "ended", "kept"), [
    ("a", "a", "a"), ("a", None, "a"), ("a", "b", "a"), (None, "b", "b"), (None, None, None)])
def test_what_an_attempt_ran_is_written_when_it_is_first_seen_and_stays(
        world: World, running: str | None, ended: str | None, kept: str | None) -> None:
    jobs = [world.gated() for _ in range(2)]
    for job in jobs:
        world.move(job, State.RUNNING, image_digest=running)
    world.move(jobs[0], State.COLLECTING, outcome=SUCCESS, image_digest=ended)
    with world.database.transaction() as tx:
        found = dict(tx.execute(select(attempts.c.job, attempts.c.image_digest)).tuples().all())
    assert found == {jobs[0]: kept, jobs[1]: running}


def test_an_illegal_move_is_an_error_and_writes_nothing(world: World) -> None:
    job = world.running()
    with pytest.raises(IllegalTransition):
        world.move(job, State.SUCCEEDED)
    assert world.job(job).state == "RUNNING"


def test_of_many_equal_moves_one_is_carried_out(world: World) -> None:
    job = world.running()
    move = Move(job, 1, State.RUNNING, State.STOPPING, outcome="run_timeout")
    assert sum(len(moved) for moved in at_once(
        [lambda: world.lifecycle.transition_many([move], actor="test")] * 8)) == 1
    assert [event.to_state for event in world.history(world.job(job).simulation)].count("STOPPING") == 1


def test_the_first_outcome_wins(world: World) -> None:
    job = world.running()
    world.move(job, State.STOPPING, outcome="run_timeout", message="too long")
    world.move(job, State.COLLECTING, outcome="crashed", message="killed", exit_code=137)
    row = world.job(job)
    assert (row.outcome, row.message, row.exit_code) == ("run_timeout", "too long", 137)


def test_what_the_end_registers_is_written_with_it_or_not_at_all(world: World) -> None:
    job = world.collecting()
    with pytest.raises(LookupError):
        world.lifecycle.finish(End(job, 1, SUCCESS, bundles=[BundleRecord("run", {"files": []}, {})],
                                   attempt_columns={"log_tail": "written before"}))
    assert world.job(job).state == "COLLECTING"
    with world.database.transaction() as tx:
        assert tx.execute(select(attempts.c.log_tail)).scalar_one() == ""


# -- retries ---------------------------------------------------------------------------------------------------------


def test_a_retry_is_a_new_attempt_with_a_clean_slate(world: World) -> None:
    job = world.collecting("vanished")
    assert world.finish(job, "vanished", passed=False, metrics={"x": 1}) == State.QUEUED
    row = world.job(job)
    assert (row.attempt, row.outcome, row.passed, row.metrics, row.message) == (2, None, None, None, None)


def test_a_retry_waits_before_it_is_admitted(world: World) -> None:
    job = world.collecting("vanished")
    world.finish(job, "vanished")
    assert world.lifecycle.admit() == 0
    with world.database.transaction() as tx:
        tx.execute(update(jobs).values(not_before=None))
    assert world.lifecycle.admit() == 1


def test_retries_end_at_the_cap(world: World) -> None:
    job = world.collecting("vanished", retry=Retry(max_attempts=2))
    assert world.finish(job, "vanished") == State.QUEUED
    collect_again(world, job, "vanished")
    assert world.finish(job, "vanished") == State.FAILED
    assert world.job(job).attempt == 2


def test_a_reason_that_is_not_retried_fails(world: World) -> None:
    assert world.finish(world.collecting("crashed"), "crashed") == State.FAILED


def test_preemption_is_always_retried_and_never_counted(world: World) -> None:
    job = world.collecting("preempted", retry=Retry(max_attempts=1, on=()))
    for _ in range(3):
        assert world.finish(job, "preempted") == State.QUEUED
        collect_again(world, job, "preempted")
    assert world.finish(job, "preempted") == State.QUEUED
    with world.database.transaction() as tx:
        ended = select(func.count()).select_from(attempts).where(attempts.c.outcome.is_not(None))
        assert tx.execute(ended.where(attempts.c.counted)).scalar_one() == 0
        assert tx.execute(ended).scalar_one() == 4


def test_nothing_is_retried_after_a_cancel(world: World) -> None:
    job = world.collecting("vanished")
    world.lifecycle.cancel_job(job, actor="test")
    assert world.finish(job, "vanished") == State.FAILED


def collect_again(world: World, job: UUID, outcome: str) -> None:
    with world.database.transaction() as tx:
        tx.execute(update(jobs).values(not_before=None))
    world.lifecycle.admit()
    assert world.pass_gate(job, world.job(job).attempt)
    world.move(job, State.RUNNING)
    world.move(job, State.COLLECTING, outcome=outcome)


# -- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reach", "state"), [
    ("queued", "CANCELLED"),
    ("admitted", "CANCELLED"),
    ("gated", "STOPPING"),
    ("running", "STOPPING"),
    ("collecting", "COLLECTING"),
])
def test_cancel_in_each_state(world: World, reach: str, state: str) -> None:
    job = getattr(world, reach)()
    for _ in range(2):
        world.lifecycle.cancel_job(job, actor="test")
        assert world.job(job).state == state


def test_cancel_of_what_ended_by_itself_is_refused(world: World) -> None:
    job = world.collecting()
    world.finish(job)
    with pytest.raises(IllegalTransition):
        world.lifecycle.cancel_job(job, actor="test")
    with pytest.raises(IllegalTransition):
        world.lifecycle.cancel_simulation(world.job(job).simulation, actor="test")


def test_cancel_of_what_does_not_exist(world: World) -> None:
    with pytest.raises(NotFound):
        world.lifecycle.cancel_job(uuid4(), actor="test")
    with pytest.raises(NotFound):
        world.lifecycle.cancel_simulation(uuid4(), actor="test")


def test_what_runs_once_more_can_be_cancelled_before_anybody_numbered_it(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.collecting("crashed")
    world.finish(job, "crashed")
    simulation = world.job(job).simulation
    monkeypatch.setattr(world.lifecycle, "settle", lambda work=(): None)
    monkeypatch.setattr(world.lifecycle, "_after", lambda work: None)
    world.lifecycle.retry(simulation, {State.FAILED}, actor="test")
    assert world.simulation(simulation).state == "FAILED"
    world.lifecycle.cancel_simulation(simulation, actor="test")
    assert world.states(simulation) == ["CANCELLED"]
    monkeypatch.undo()
    world.lifecycle.settle()
    assert world.simulation(simulation).state == "CANCELLED"


def test_what_was_deleted_can_not_be_cancelled(world: World) -> None:
    simulation = world.submit()
    world.lifecycle.cancel_simulation(simulation, actor="test")
    world.lifecycle.delete_simulation(simulation)
    with pytest.raises(NotFound):
        world.lifecycle.cancel_simulation(simulation, actor="test")


def test_a_cancelled_simulation_ends_every_job(world: World) -> None:
    simulation = world.submit(6)
    world.lifecycle.admit()
    gate = world.jobs(simulation)[0].id
    world.pass_gate(gate)
    world.lifecycle.cancel_simulation(simulation, actor="test")
    assert world.states(simulation) == ["STOPPING"] + ["CANCELLED"] * 5
    assert world.simulation(simulation).state == "STOPPING"
    world.move(gate, State.COLLECTING)
    world.finish(gate, "cancelled_by_user")
    assert world.simulation(simulation).state == "CANCELLED"
    world.lifecycle.cancel_simulation(simulation, actor="test")


def test_a_cancelled_simulation_is_stopping_even_when_no_job_moves(world: World) -> None:
    job = world.collecting()
    world.lifecycle.cancel_simulation(world.job(job).simulation, actor="test")
    assert world.simulation(world.job(job).simulation).state == "STOPPING"
    world.finish(job)
    assert world.simulation(world.job(job).simulation).state == "SUCCEEDED"


def test_cancels_moves_admissions_and_numbering_at_once_never_deadlock(world: World) -> None:
    for _ in range(6):
        simulations_ = [world.submit(4) for _ in range(3)]
        world.lifecycle.admit()
        starting = [row for one in simulations_ for row in world.jobs(one) if row.state == "STARTING"]
        moves = [Move(row.id, 1, State.STARTING, State.RUNNING) for row in starting]
        at_once([
            *[lambda one=one: world.lifecycle.cancel_simulation(one, actor="test")  # type: ignore[misc]
              for one in simulations_],
            lambda: world.lifecycle.transition_many(moves, actor="test"),  # noqa: B023 - called within the round
            world.lifecycle.admit, world.lifecycle.admit, lambda: number_events(world.database)])
        for row in (row for one in simulations_ for row in world.jobs(one) if row.state not in ENDED):
            world.move(row.id, State.STOPPING) if row.state == "RUNNING" else None
            world.move(row.id, State.COLLECTING)
            world.finish(row.id, "cancelled_by_user")
    with world.database.transaction() as tx:
        assert tx.execute(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
                          ).scalar_one() == 0


# -- admission -------------------------------------------------------------------------------------------------------


def test_no_more_are_live_than_there_are_slots_whoever_admits(world: World) -> None:
    world.submit(20)
    admitted_now = sum(at_once([world.lifecycle.admit] * 6))
    with world.database.transaction() as tx:
        live = tx.execute(select(func.count()).select_from(jobs).where(jobs.c.state.in_(LIVE))).scalar_one()
    assert admitted_now == live == 4


def test_priority_comes_first_then_age(world: World) -> None:
    old = world.submit(3)
    urgent = world.submit(2, priority=1)
    world.lifecycle.admit()
    assert world.states(urgent) == ["STARTING"] * 2
    assert world.states(old) == ["STARTING"] * 2 + ["QUEUED"]


def test_the_owner_with_the_fewest_live_comes_first(world: World) -> None:
    many = world.submit(10)
    other = world.submit(10, owner=world.add_user())
    world.lifecycle.admit()
    assert [world.states(simulation).count("STARTING") for simulation in (many, other)] == [2, 2]


def test_a_single_run_behind_a_great_sweep_starts_within_the_next_two_free_slots(world: World) -> None:
    sweep = world.submit(10_000)
    world.lifecycle.admit()
    single = world.submit(1, owner=world.add_user())
    for _ in range(2):
        world.lifecycle.cancel_job(next(row.id for row in world.jobs(sweep) if row.state == "STARTING"), actor="test")
        world.lifecycle.admit()
    assert world.states(single) == ["STARTING"]


def test_whoever_submits_how_much_in_which_order_slots_are_shared_alike(world: World) -> None:
    owners = [world.add_user() for _ in range(7)]
    mine = [world.submit(size, owner=owner) for owner, size in zip(owners, (900, 40, 40, 300, 40, 40, 40), strict=True)]
    world.lifecycle = Lifecycle(world.database, world.told, dict.fromkeys(Kind, 21))  # type: ignore[arg-type]
    world.lifecycle.admit()
    for _ in range(20):
        shares = [world.states(simulation).count("STARTING") for simulation in mine]
        assert shares == [3] * 7
        for simulation in mine[:3]:
            job = next(row.id for row in world.jobs(simulation) if row.state == "STARTING")
            world.lifecycle.cancel_job(job, actor="test")
        world.lifecycle.admit()


def test_who_owns_nothing_any_more_gets_his_turn(world: World) -> None:
    orphan = world.submit(2, owner=(gone := world.add_user()))
    with world.database.transaction() as tx:
        tx.execute(delete(users).where(users.c.id == gone))
    mine = world.submit(6)
    world.lifecycle.admit()
    assert (world.states(orphan).count("STARTING"), world.states(mine).count("STARTING")) == (2, 2)


def test_max_parallel_holds(world: World) -> None:
    simulation = world.submit(5, max_parallel=1)
    world.lifecycle.admit()
    assert world.states(simulation).count("STARTING") == 1


def test_nothing_is_admitted_while_admission_is_closed(world: World) -> None:
    world.submit()
    world.lifecycle.set_admission(is_open=False)
    assert world.lifecycle.admit() == 0
    world.lifecycle.set_admission(is_open=True)
    assert world.lifecycle.admit() == 1


# -- idempotency -----------------------------------------------------------------------------------------------------


def key(world: World, request: str = "a") -> Idempotency:
    return Idempotency(world.user, "key", request, 202, {"id": str(uuid4())})


def test_of_many_submissions_with_one_key_one_is_written_and_all_get_its_answer(world: World) -> None:
    def submit() -> Any:
        simulation, claim = uuid4(), key(world)
        answer = world.lifecycle.submit(Submission(
            simulation, "test", world.user, "team", {}, "robot", 1, {}, Program(command=("x",)), 7, 0, None,
            [({}, 0)]), claim)
        return answer[1] if answer else claim.body

    answers = at_once([submit] * 8)
    assert len({answer["id"] for answer in answers}) == 1
    with world.database.transaction() as tx:
        assert tx.execute(select(func.count()).select_from(simulations)).scalar_one() == 1


def test_a_key_for_another_request_is_refused(world: World) -> None:
    world.submit(idempotency=key(world, "a"))
    with pytest.raises(InvalidSpec, match="another request"):
        world.submit(idempotency=key(world, "b"))


def test_a_key_is_forgotten_after_a_day(world: World) -> None:
    world.submit(idempotency=key(world, "a"))
    with world.database.transaction() as tx:
        tx.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
    world.submit(idempotency=key(world, "b"))


# -- numbering -------------------------------------------------------------------------------------------------------


def test_numbers_are_dense_and_in_order_whoever_writes(world: World) -> None:
    work = [lambda: world.submit(3), world.lifecycle.admit] * 6
    at_once(work)
    number_events(world.database)
    with world.database.transaction() as tx:
        numbers = tx.execute(select(events.c.number).order_by(events.c.number)).scalars().all()
        last = tx.execute(select(installation.c.last_event)).scalar_one()
    assert numbers == list(range(1, last + 1))


def test_what_a_crash_left_unnumbered_is_healed_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = Lifecycle(world.database, world.told, dict.fromkeys(Kind, 4), after=lambda work: None)  # type: ignore[arg-type]
    monkeypatch.setattr(crashing, "settle", lambda: None)
    first = world.simulation(world.submit(2))
    crashing.cancel_simulation(first.id, actor="test")
    assert world.simulation(first.id).state == "QUEUED"
    world.lifecycle.settle()
    assert world.simulation(first.id).state == "CANCELLED"
    assert world.simulation(first.id).counts["CANCELLED"] == 2


def test_who_finds_somebody_waiting_leaves_the_numbering_to_him(world: World) -> None:
    simulation = world.jobs(world.submit())[0].simulation
    crashing = Lifecycle(world.database, world.told, dict.fromkeys(Kind, 4), after=lambda work: None)  # type: ignore[arg-type]
    with world.database.transaction() as numbering:
        numbering.execute(select(func.pg_advisory_xact_lock(NUMBERING_LOCK)))
        waiting = threading.Thread(target=number_events, args=(world.database,))
        waiting.start()
        until(lambda: _waiters(world) == 1)
        crashing.cancel_simulation(simulation, actor="test")
        assert number_events(world.database) == []
    waiting.join()
    assert world.simulation(simulation).state == "CANCELLED"


def test_a_failure_while_waiting_leaves_nobody_waiting(world: World) -> None:
    world.submit()
    with world.database.transaction() as numbering:
        numbering.execute(select(func.pg_advisory_xact_lock(NUMBERING_LOCK)))

        def fail() -> None:
            with pytest.raises(Unavailable):
                number_events(world.database)

        failing = threading.Thread(target=fail)
        failing.start()
        until(lambda: _waiters(world) == 1)
        numbering.execute(text("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                               "AND NOT granted AND database = (SELECT oid FROM pg_database "
                               "WHERE datname = current_database())"))
        failing.join()
    world.submit()
    # As the sweep does: the server lets go of a closed connection's locks a moment later.
    until(lambda: world.lifecycle.settle() or len(world.told.published) == 2)


def _waiters(world: World) -> int:
    with world.database.transaction() as tx:
        return int(tx.execute(text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())")).scalar_one())


def test_events_of_one_job_are_numbered_in_the_order_of_its_moves(world: World) -> None:
    job = world.collecting()
    world.finish(job)
    history = [event for event in world.history(world.job(job).simulation) if event.job == job]
    assert all(before.to_state == after.from_state for before, after in pairwise(history))


# -- the user's own retry ------------------------------------------------------------------------------------------

def test_a_failed_job_can_be_run_once_more(world: World) -> None:
    job = world.collecting("crashed")
    world.finish(job, "crashed", passed=False)
    simulation = world.job(job).simulation
    assert world.simulation(simulation).state == "FAILED"
    assert world.lifecycle.retry(simulation, {State.FAILED}, actor="test") == 1
    row = world.job(job)
    assert (row.state, row.attempt, row.outcome, row.passed, row.ended_at) == ("QUEUED", 2, None, None, None)
    assert world.simulation(simulation).state == "QUEUED"
    assert world.simulation(simulation).verdicts == {"passed": 0, "not_passed": 0, "none": 1}
    world.lifecycle.admit()
    assert world.pass_gate(job, 2)


def test_the_verdict_of_an_attempt_that_is_tried_again_by_itself_counts_nowhere(world: World) -> None:
    job = world.collecting("vanished")
    world.finish(job, "vanished", passed=False)
    assert world.job(job).state == "QUEUED"
    assert world.simulation(world.job(job).simulation).verdicts == {"passed": 0, "not_passed": 0, "none": 1}


def test_only_what_ended_so_is_run_again(world: World) -> None:
    simulation = world.submit(3)
    world.lifecycle.admit()
    good, bad, cancelled = [row.id for row in world.jobs(simulation)]
    for job, outcome in ((good, "success"), (bad, "crashed")):
        assert world.pass_gate(job)
        world.move(job, State.RUNNING)
        world.move(job, State.COLLECTING, outcome=outcome)
        world.finish(job, outcome)
    world.lifecycle.cancel_job(cancelled, actor="test")
    assert world.lifecycle.retry(simulation, {State.FAILED}, actor="test") == 1
    assert world.states(simulation) == ["SUCCEEDED", "QUEUED", "CANCELLED"]
    assert world.lifecycle.retry(simulation, {State.CANCELLED}, actor="test") == 1
    with pytest.raises(IllegalTransition, match="has no instance that is CANCELLED"):
        world.lifecycle.retry(simulation, {State.CANCELLED}, actor="test")
    with pytest.raises(NotFound):
        world.lifecycle.retry(uuid4(), {State.FAILED}, actor="test")


def test_a_retry_by_the_user_has_all_its_automatic_ones_again(world: World) -> None:
    job = world.collecting("vanished", retry=Retry(max_attempts=1))
    world.finish(job, "vanished")
    world.lifecycle.retry(world.job(job).simulation, {State.FAILED}, actor="test")
    with world.database.transaction() as tx:
        assert tx.execute(select(func.count()).select_from(attempts).where(attempts.c.counted)).scalar_one() == 0


def test_a_cancelled_simulation_is_wanted_again_once_it_has_ended(world: World) -> None:
    simulation = world.submit(2)
    world.lifecycle.admit()
    running, waiting = [row.id for row in world.jobs(simulation)]
    assert world.pass_gate(running)
    world.lifecycle.cancel_simulation(simulation, actor="test")
    with pytest.raises(IllegalTransition, match="is being cancelled"):
        world.lifecycle.retry(simulation, {State.CANCELLED}, actor="test")
    world.move(running, State.COLLECTING)
    world.finish(running, "cancelled_by_user")
    assert world.lifecycle.retry(simulation, {State.CANCELLED}, actor="test") == 2
    assert world.simulation(simulation).state == "QUEUED"
    assert world.lifecycle.admit() == 2
    world.lifecycle.cancel_job(waiting, actor="test")


def test_of_many_retries_at_once_one_counts(world: World) -> None:
    job = world.collecting("crashed")
    world.finish(job, "crashed")
    simulation = world.job(job).simulation

    def retry() -> int:
        try:
            return world.lifecycle.retry(simulation, {State.FAILED}, actor="test")
        except IllegalTransition:
            return 0

    assert sum(at_once([retry] * 6)) == 1
    assert world.job(job).attempt == 2


# -- what one user may use --------------------------------------------------------------------------------------------

def test_a_user_has_no_more_running_than_his_limit(database: Database) -> None:
    world = World(database, slots=10, limits=Limits(running=2))
    own = world.add_user(max_running=3)
    first, second, third = world.submit(5), world.submit(5, priority=1), world.submit(5, owner=own)
    assert world.lifecycle.admit() == 5
    assert [world.states(each).count("STARTING") for each in (first, second, third)] == [0, 2, 3]
    assert world.lifecycle.admit() == 0
    world.lifecycle.cancel_simulation(second, actor="test")
    assert world.lifecycle.admit() == 2
    assert world.states(first).count("STARTING") == 2


def test_what_nobody_owns_is_held_to_the_limit_and_holds_up_nobody(database: Database) -> None:
    world = World(database, slots=10, limits=Limits(running=2))
    orphans = [world.submit(2, owner=(gone := world.add_user())), world.submit(3, owner=gone)]
    world.lifecycle.admit()
    disown(world, gone)
    mine = world.submit(3)
    assert world.lifecycle.admit() == 2
    assert [world.states(each).count("STARTING") for each in (*orphans, mine)] == [2, 0, 2]
    world.lifecycle.cancel_job(world.jobs(orphans[0])[0].id, actor="test")
    assert world.lifecycle.admit() == 1
    assert world.states(orphans[1]).count("STARTING") == 1


def test_where_nobody_may_run_anything_by_default_neither_may_what_nobody_owns(database: Database) -> None:
    world = World(database, limits=Limits(running=0))
    world.submit(2, owner=(gone := world.add_user()))
    disown(world, gone)
    assert world.lifecycle.admit() == 0


def test_whose_an_instance_is_is_told_by_its_simulation_while_a_user_is_taken_off(database: Database) -> None:
    world = World(database, slots=10, limits=Limits(running=2))
    simulation = world.submit(5)
    world.lifecycle.admit()
    with world.database.transaction() as tx:
        tx.execute(update(jobs).values(owner=None))
    assert world.lifecycle.admit() == 0
    assert world.states(simulation).count("STARTING") == 2


def disown(world: World, user: UUID) -> None:
    with world.database.transaction() as tx:
        tx.execute(delete(users).where(users.c.id == user))


def test_whoever_admits_at_once_no_limit_is_passed(database: Database) -> None:
    world = World(database, slots=50, limits=Limits(running=3))
    users = [world.add_user() for _ in range(4)]
    mine = [world.submit(10, owner=user) for user in users]
    at_once([world.lifecycle.admit] * 6)
    assert [world.states(each).count("STARTING") for each in mine] == [3, 3, 3, 3]


def test_no_more_may_wait_than_the_limit_with_what_waits_already(database: Database) -> None:
    world = World(database, slots=0, limits=Limits(queued=5))
    world.submit(5)
    with pytest.raises(QuotaExceeded) as told:
        world.submit(1)
    assert told.value.errors[0].message == "5 of 5 instances wait already, and these would be 1 more"
    world.submit(50, owner=world.add_user(max_queued=50))


def test_of_many_submissions_at_once_no_more_fit_than_the_limit(database: Database) -> None:
    world = World(database, slots=0, limits=Limits(queued=6))

    def submit() -> bool:
        try:
            return bool(world.submit(2))
        except QuotaExceeded:
            return False

    assert sum(at_once([submit] * 8)) == 3


def test_a_retry_counts_as_waiting(database: Database) -> None:
    world = World(database, slots=1, limits=Limits(queued=1))
    job = world.collecting("crashed")
    world.finish(job, "crashed")
    other = world.submit(1)
    world.lifecycle.pause(paused=True)
    with pytest.raises(QuotaExceeded):
        world.lifecycle.retry(world.job(job).simulation, {State.FAILED}, actor="test")
    world.lifecycle.cancel_simulation(other, actor="test")
    assert world.lifecycle.retry(world.job(job).simulation, {State.FAILED}, actor="test") == 1


def test_while_paused_nothing_is_admitted(world: World) -> None:
    world.submit(2)
    world.lifecycle.pause(paused=True)
    assert world.lifecycle.admit() == 0
    world.lifecycle.set_admission(is_open=True)
    assert world.lifecycle.admit() == 0
    world.lifecycle.pause(paused=False)
    assert world.lifecycle.admit() == 2


# -- whatever happens ------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(
    st.sampled_from(["submit", "admit", "gate", "run", "stop", "collect", "finish", "cancel", "cancel_all", "crash",
                     "retry"]),
    st.integers(0, 5)), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_whatever_happens_the_history_is_legal_and_the_counts_are_right(
        migrated_database: Database, steps: list[tuple[str, int]]) -> None:
    world = World(migrated_database)
    crashing = Lifecycle(world.database, world.told, dict.fromkeys(Kind, 4), after=lambda work: None)  # type: ignore[arg-type]
    mine = [world.submit(2)]
    for step, pick in steps:
        lifecycle = crashing if step == "crash" else world.lifecycle
        take_step(world, lifecycle, mine, step, pick)
    world.lifecycle.settle()
    for simulation in mine:
        check_history(world, simulation)
        world.lifecycle.cancel_simulation(simulation, actor="cleanup") if (
            world.simulation(simulation).state not in ENDED) else None
    with world.database.transaction() as tx:  # the next example starts with free slots
        tx.execute(text("TRUNCATE simulations CASCADE"))


def take_step(world: World, lifecycle: Lifecycle, mine: list[UUID], step: str, pick: int) -> None:
    every = [row for simulation in mine for row in world.jobs(simulation)]
    row = every[pick % len(every)]
    moves = {"run": State.RUNNING, "stop": State.STOPPING, "collect": State.COLLECTING, "crash": State.COLLECTING}
    try:
        if step == "submit":
            mine.append(world.submit(pick + 1))
        elif step == "admit":
            lifecycle.admit()
        elif step == "gate":
            world.pass_gate(row.id, row.attempt)
        elif step == "finish":
            world.finish(row.id, row.outcome or ["success", "vanished", "preempted", "crashed"][pick % 4],
                         passed=[None, True, False][pick % 3])
        elif step == "retry":
            states = ({State.FAILED}, {State.CANCELLED}, {State.FAILED, State.CANCELLED})[pick % 3]
            lifecycle.retry(row.simulation, states, actor="test")
        elif step == "cancel":
            lifecycle.cancel_job(row.id, actor="test")
        elif step == "cancel_all":
            lifecycle.cancel_simulation(row.simulation, actor="test")
        else:
            lifecycle.transition_many([Move(row.id, row.attempt, State(row.state), moves[step])], actor="test")
    except IllegalTransition:
        pass


def check_history(world: World, simulation: UUID) -> None:
    states: dict[UUID, str] = {}
    for event in world.history(simulation):
        if event.job is None:
            continue
        assert State(event.to_state) in MOVES[State(event.from_state)]
        assert states.get(event.job, "QUEUED") == event.from_state
        states[event.job] = event.to_state
    rows, top = world.jobs(simulation), world.simulation(simulation)
    assert {row.id: row.state for row in rows} == {row.id: states.get(row.id, "QUEUED") for row in rows}
    assert {state: number for state, number in top.counts.items() if number} == {
        state: sum(row.state == state for row in rows) for state in {row.state for row in rows}}
    assert top.state == derive(top.counts, top.stop_requested)
    verdicts = [row.passed if row.state in ENDED else None for row in rows]
    assert top.verdicts == {"passed": verdicts.count(True), "not_passed": verdicts.count(False),
                            "none": verdicts.count(None)}


@pytest.fixture(scope="module")
def migrated_database(lender: Lender) -> Iterator[Database]:
    url = lender.lend()
    database = Database(url.replace("postgresql:", "postgresql+psycopg2:"), pool_size=4, application="test")
    yield database
    database.close()
    lender.take_back(url)


def at_once(deeds: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do them all at once, each in a thread of its own; their answers in order. What one raises is raised."""
    barrier, answers = threading.Barrier(len(deeds)), [None] * len(deeds)
    failed: list[BaseException] = []

    def do(place: int) -> None:
        barrier.wait()
        try:
            answers[place] = deeds[place]()
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=do, args=(place,)) for place in range(len(deeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return answers
