"""THE writer of states: submits, admits, moves and ends jobs, each in one transaction with its events.

Every move is compare-and-set on (id, attempt, state) under the row's lock; a move that lost is left out, not an error.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, insert, select, text, update

from shared.domain.errors import IllegalTransition, NotFound
from shared.domain.moves import Move, NewJob, Submission
from shared.domain.specs import Program
from shared.domain.states import LIVE, SUCCESS, Reason, State, end_of
from shared.messaging.announcer import Announcer
from shared.messaging.queue import Work
from shared.persistence import admission, quotas, retrying, transitions
from shared.persistence.bundles import BundleRecord, begin_ingest, register_attempt
from shared.persistence.database import Database
from shared.persistence.deletion import delete_bundle, delete_simulation, hold_still
from shared.persistence.models import attempts, events, jobs, simulations
from shared.persistence.numbering import number_events
from shared.persistence.queries import Idempotency, claim_answer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """How collecting ended. `outcome` differs from the job's only where collecting may: a success that was none."""

    job: UUID
    attempt: int
    outcome: str
    message: str | None = None
    passed: bool | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    progress: dict[str, Any] | None = None
    bundles: Sequence[BundleRecord] = ()
    attempt_columns: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False  # not all of what was recorded arrived, so what is left of it stays where it is
    final: bool = False  # it may run still, where nobody sees it: no other attempt follows by itself


class Lifecycle:
    """Opened once a process. `slots`: how many jobs of each kind may be live at once. `after` is called with the tasks
    due after each commit; by default it settles at once. `limits`: of users who have none of their own."""

    def __init__(self, database: Database, announcer: Announcer, slots: Mapping[str, int],
                 after: Callable[[Sequence[Work]], None] | None = None,
                 limits: quotas.Limits = quotas.NO_LIMITS) -> None:
        self._database = database
        self._announcer = announcer
        self._slots = slots
        self._limits = limits
        self._after = after or self.settle

    # -- telling -------------------------------------------------------------------------------------------------

    def send(self, work: Sequence[Work]) -> bool:
        """Send the tasks of a commit, ahead of settling; whether the broker took them. The sweep sends what it did
        not."""
        return self._announcer.send(work)

    def settle(self, work: Sequence[Work] = ()) -> None:
        """Send the tasks, number what is committed, publish it. Also called by the sweep, for what a crash left."""
        self._announcer.send(work)
        self._announcer.publish(number_events(self._database))

    def ring(self, work: Sequence[Work]) -> None:
        """As after a commit of ours: another door has written what makes these tasks due (a recorder's facts)."""
        self._after(work)

    # -- beginning -----------------------------------------------------------------------------------------------

    def submit(self, submission: Submission, idempotency: Idempotency | None = None) -> tuple[int, Any] | None:
        """Write the simulation, its jobs and its first event; None when written. QuotaExceeded if they are too many.

        With an idempotency key that has been answered already: that answer, and nothing is written.
        """
        with self._database.transaction() as tx:
            if idempotency is not None and (answer := claim_answer(tx, idempotency)):
                return answer
            quotas.check(tx, submission.owner, self._limits, more_queued=len(submission.sets))
            self._insert_simulation(tx, submission)
            self._insert_jobs(tx, submission)
            tx.execute(insert(events), {
                "simulation": submission.id, "kind": "simulation", "owner": submission.owner,
                "to_state": State.QUEUED, "actor": f"user:{submission.owner}"})
            hold_still(tx, submission.program.inputs)  # last, for others wait for these
        self._after(())
        return None

    def _insert_simulation(self, tx: Connection, new: Submission) -> None:
        total = len(new.sets)
        # Parameters beside the statement, not in it: SQLAlchemy takes a quarter of a submission to build the other.
        tx.execute(insert(simulations), {
            "id": new.id, "name": new.name, "owner": new.owner, "visibility": new.visibility, "labels": new.labels,
            "template": new.template, "template_version": new.template_version, "spec": new.spec,
            "program": new.program.model_dump(mode="json"), "seed": new.seed, "priority": new.priority,
            "max_parallel": new.max_parallel, "keep": new.keep, "keep_days": new.keep_days, "total": total,
            "state": State.QUEUED,
            "counts": dict.fromkeys(State, 0) | {State.QUEUED: total},
            "verdicts": {"passed": 0, "not_passed": 0, "none": total}})

    def _insert_jobs(self, tx: Connection, new: Submission) -> None:
        # One statement for all of them: the parameter sets travel as one JSON text and are taken apart by Postgres.
        tx.execute(text("""
            INSERT INTO jobs (id, kind, owner, simulation, index, parameters, seed, state, queue_deadline)
            SELECT gen_random_uuid(), 'instance', :owner, :simulation, entry.place - 1, entry.value->0,
                   (entry.value->>1)::bigint, :state, clock_timestamp() + make_interval(secs => :queue_seconds)
            FROM jsonb_array_elements(CAST(:sets AS jsonb)) WITH ORDINALITY AS entry(value, place)"""),
            {"owner": new.owner, "simulation": new.id, "state": State.QUEUED, "sets": json.dumps(new.sets),
             "queue_seconds": new.program.limits.queue_seconds})

    def submit_ingest(self, new: NewJob) -> bool:
        """Let the bundle, whose upload is complete, be looked into; False when that has been asked before."""
        with self._database.transaction() as tx:
            if not begin_ingest(tx, new.bundle):
                return False
            self._insert_job(tx, new)
        self._after(())
        return True

    def submit_playback(self, new: NewJob, idempotency: Idempotency | None = None) -> tuple[int, Any] | None:
        """Queue the job; None when it is. With an idempotency key that has been answered already: that answer."""
        with self._database.transaction() as tx:
            if idempotency is not None and (answer := claim_answer(tx, idempotency)):
                return answer
            hold_still(tx, [new.bundle])
            self._insert_job(tx, new)
        self._after(())
        return None

    @staticmethod
    def _insert_job(tx: Connection, new: NewJob) -> None:
        tx.execute(insert(jobs), {
            "id": new.id, "kind": new.kind, "owner": new.owner, "bundle": new.bundle, "parameters": new.parameters,
            "program": new.program.model_dump(mode="json"), "seed": 0, "state": State.QUEUED})
        tx.execute(insert(events), {
            "job": new.id, "kind": new.kind, "owner": new.owner, "to_state": State.QUEUED,
            "actor": f"user:{new.owner}", "attempt": 1})

    def admit(self) -> int:
        """Move QUEUED jobs into the free slots of their kind, by priority, then the owner with the fewest live, then
        age."""
        with self._database.transaction() as tx:
            chosen = admission.choose(tx, self._slots, self._limits.running)
            admitted = tx.execute(transitions.ADMIT, {"ids": chosen}).all() if chosen else []
        if admitted:
            self._after([Work(row.job, State.STARTING, row.kind) for row in admitted])
        return len(admitted)

    def set_admission(self, *, is_open: bool) -> None:
        """Let jobs start, or no more: what the stack says as it comes up and goes down."""
        with self._database.transaction() as tx:
            admission.set_open(tx, is_open)

    def pause(self, *, paused: bool) -> None:
        """Let no more jobs start, or go on: an admin's word. What runs is left alone."""
        with self._database.transaction() as tx:
            admission.set_paused(tx, paused)
        self._after(())

    def pass_gate(self, job: UUID, attempt: int, *, host: str, boot: str, token_hash: str) -> bool:
        """Whether this call, and no other ever, may start the attempt: it is STARTING and nobody asked it to stop."""
        with self._database.single() as tx:
            return tx.execute(transitions.PASS_GATE, {"row": job, "n": attempt, "where": host, "since": boot,
                                                      "token": token_hash}).rowcount == 1

    def put_off(self, job: UUID, attempt: int, why: str) -> None:
        """Say of an attempt that is to start what keeps its runtime from it; forgotten once it runs."""
        with self._database.single() as tx:
            tx.execute(transitions.PUT_OFF, {"row": job, "n": attempt, "why": why[:1000]})

    # -- moving --------------------------------------------------------------------------------------------------

    def transition_many(self, moves: Iterable[Move], *, actor: str) -> list[Move]:
        """Carry out in one transaction those moves that still hold; returns them. Ends are left to finish()."""
        wanted = {move.job: move for move in moves}
        if not wanted:
            return []
        with self._database.transaction() as tx:
            held = [(row, wanted[row.id]) for row in tx.execute(transitions.LOCK_MANY, {"ids": list(wanted)})
                    if (row.attempt, row.state) == (wanted[row.id].attempt, wanted[row.id].old)]
            if any(move.ungated for _, move in held):
                held = self._without_gated(tx, held)
            transitions.move(tx, actor, held)
        if held:
            self._after([Work(row.id, move.new, row.kind) for row, move in held])
        return [move for _, move in held]

    @staticmethod
    def _without_gated(tx: Connection, held: Sequence[tuple[Row[Any], Move]]) -> list[tuple[Row[Any], Move]]:
        """The moves less those that are void because the gate was passed. The jobs are locked, so it stays as it is."""
        passed = tx.execute(
            select(attempts.c.job).join(jobs, (jobs.c.id == attempts.c.job) & (jobs.c.attempt == attempts.c.number))
            .where(attempts.c.job.in_([row.id for row, _ in held]), attempts.c.gate_passed_at.is_not(None))
        ).scalars().all()
        return [(row, move) for row, move in held if not (move.ungated and row.id in passed)]

    def finish(self, end: End) -> State | None:
        """End a COLLECTING attempt, or queue the next, and write its bundles in the same transaction: the new state.

        Returns None, and writes nothing, when the attempt is not being collected any more.
        """
        with self._database.transaction() as tx:
            rows = [row for row in transitions.lock(tx, jobs.c.id == end.job)
                    if (row.attempt, row.state) == (end.attempt, State.COLLECTING)]
            if not rows:
                return None
            register_attempt(tx, rows[0], end.bundles, end.attempt_columns,
                             went_well=end.outcome == SUCCESS and end.passed is not False)
            new = self._end(tx, rows[0], end)
        self._after(())
        self.admit()
        return new

    def _end(self, tx: Connection, row: Row[Any], end: End) -> State:
        new = State.QUEUED if not end.final and self._retries(tx, row, end.outcome) else end_of(end.outcome)
        values = {"passed": end.passed, "metrics": end.metrics or None, "outcome": end.outcome,
                  "message": end.message, "progress": end.progress or row.progress}
        tx.execute(update(jobs).where(jobs.c.id == row.id).values(values))
        tx.execute(update(attempts).where(attempts.c.job == row.id, attempts.c.number == end.attempt)
                   .values(outcome=end.outcome, message=end.message, kept=end.kept,
                           counted=end.outcome != Reason.PREEMPTED))
        transitions.move(tx, "worker", [(row, Move(row.id, row.attempt, State.COLLECTING, new, outcome=end.outcome))],
                   passed=end.passed)
        return new

    def _retries(self, tx: Connection, row: Row[Any], outcome: str) -> bool:
        """Whether this end is followed by another attempt: by reason and cap, and never after a cancel."""
        if row.cancel_requested or outcome == SUCCESS:
            return False
        if outcome == Reason.PREEMPTED:
            return True
        retry = Program.model_validate(row.program).retry
        tried = tx.execute(select(func.count()).select_from(attempts)
                           .where(attempts.c.job == row.id, attempts.c.counted)).scalar_one()
        return outcome in retry.on and tried < retry.max_attempts

    # -- cancelling ----------------------------------------------------------------------------------------------

    def cancel_job(self, job: UUID, *, actor: str) -> None:
        """Cancel one instance: at once if nothing was started, else by stopping it. Repeating it changes nothing."""
        with self._database.transaction() as tx:
            rows = transitions.lock(tx, jobs.c.id == job)
            if not rows:
                raise NotFound(f"no instance {job}")
            if rows[0].state in (State.SUCCEEDED, State.FAILED):
                raise IllegalTransition(f"instance {job} is {rows[0].state} already",
                                        remedy="only what has not ended can be cancelled")
            work = self._cancel(tx, actor, rows)
        self._after(work)

    def cancel_simulation(self, simulation: UUID, *, actor: str) -> None:
        """Cancel every instance that has not ended; those left queued by a crash are ended by the sweep."""
        with self._database.transaction() as tx:
            row = retrying.lock(tx, simulation)
            if row is None:
                raise NotFound(f"no simulation {simulation}")
            # The state is that of what has been numbered: after a retry it is behind for a moment.
            if row.state in (State.SUCCEEDED, State.FAILED) and not retrying.is_unended(tx, simulation):
                raise IllegalTransition(f"simulation {simulation} is {row.state} already",
                                        remedy="only what has not ended can be cancelled")
            tx.execute(update(simulations).where(simulations.c.id == simulation)
                       .values(stop_requested=True, stale=True))
            # All at once, so that none slips from live to queued between the two steps below.
            tx.execute(text("SELECT count(*) FROM (SELECT FROM jobs WHERE simulation = :simulation AND state NOT IN "
                            "('SUCCEEDED', 'FAILED', 'CANCELLED') ORDER BY id FOR NO KEY UPDATE) held"),
                       {"simulation": simulation})
            self._cancel_queued(tx, simulation, actor)
            work = self._cancel(tx, actor, transitions.lock(
                tx, (jobs.c.simulation == simulation) & jobs.c.state.in_(LIVE)))
        self.send(work)  # first, for to number a large sweep takes a while
        self.settle()  # who is answered that it is cancelled finds it so in the status too
        self._after(())

    def _cancel_queued(self, tx: Connection, simulation: UUID, actor: str) -> None:
        # Set-wise, for there may be a hundred thousand; no program is involved.
        tx.execute(text("""
            WITH queued AS (SELECT id FROM jobs WHERE simulation = :simulation AND state = 'QUEUED'
                            ORDER BY id FOR NO KEY UPDATE),
                 ended AS (UPDATE jobs SET state = :cancelled, outcome = :reason, version = version + 1,
                                  cancel_requested = true, state_since = clock_timestamp(),
                                  ended_at = clock_timestamp(), due_at = NULL
                           FROM queued WHERE jobs.id = queued.id RETURNING jobs.id, jobs.owner, jobs.attempt)
            INSERT INTO events (simulation, job, kind, owner, actor, from_state, to_state, reason, attempt)
            SELECT :simulation, id, 'instance', owner, :actor, 'QUEUED', :cancelled, :reason, attempt FROM ended"""),
            {"simulation": simulation, "actor": actor, "cancelled": State.CANCELLED,
             "reason": Reason.CANCELLED_BY_USER})

    def _cancel(self, tx: Connection, actor: str, rows: Sequence[Row[Any]]) -> list[Work]:
        """What cancel means in each state; the rows are locked."""
        moves = []
        for row in rows:
            state = State(row.state)
            started = state == State.RUNNING or (state == State.STARTING and row.gate_passed_at is not None)
            if started:
                moves.append((row, self._by_user(row, State.STOPPING)))
            elif state in (State.QUEUED, State.STARTING):
                moves.append((row, self._by_user(row, State.CANCELLED)))
        transitions.move(tx, actor, moves)
        tx.execute(update(jobs).where(jobs.c.id.in_([row.id for row in rows])).values(cancel_requested=True))
        return [Work(row.id, move.new, row.kind) for row, move in moves]

    # -- retrying ------------------------------------------------------------------------------------------------

    def retry(self, simulation: UUID, states: Collection[State], *, actor: str) -> int:
        """Queue the simulation's jobs that are in these terminal states again, each with its next attempt; how many.

        IllegalTransition when none is, or an input has been deleted; QuotaExceeded when they are too many."""
        with self._database.transaction() as tx:
            row = retrying.lock(tx, simulation)
            if row is None:
                raise NotFound(f"no simulation {simulation}")
            if row.stop_requested and retrying.is_unended(tx, simulation):
                raise IllegalTransition(f"simulation {simulation} is being cancelled",
                                        remedy="retry once every instance has ended")
            waiting = retrying.count(tx, simulation, states)
            if not waiting:
                names = " or ".join(sorted(states))
                raise IllegalTransition(f"simulation {simulation} has no instance that is {names}",
                                        code="nothing_to_retry", remedy="GET its status to see how its instances ended")
            quotas.check(tx, row.owner, self._limits, more_queued=waiting)
            retrying.queue_again(tx, simulation, states, actor)
            retrying.hold_inputs(tx, simulation, row.inputs)  # last, for others wait for these
        self.settle()  # admission passes over simulations that have ended: first let this one's state be derived anew
        self._after(())
        return waiting

    @staticmethod
    def _by_user(row: Row[Any], new: State) -> Move:
        return Move(row.id, row.attempt, State(row.state), new, outcome=Reason.CANCELLED_BY_USER)

    # -- deleting ------------------------------------------------------------------------------------------------

    def delete_simulation(self, simulation: UUID) -> None:
        """Take an ended simulation out of sight with all below it; the rows go later. Conflict says what is against
        it, NotFound that there is none, or none any more."""
        with self._database.transaction() as tx:
            delete_simulation(tx, simulation)

    def delete_bundle(self, bundle: UUID) -> None:
        """The same of a bundle."""
        with self._database.transaction() as tx:
            delete_bundle(tx, bundle)
