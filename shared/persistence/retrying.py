"""The statements by which lifecycle.retry queues ended jobs again. Set-wise, for there may be a hundred thousand."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, text, update

from shared.domain.errors import IllegalTransition, NotFound
from shared.domain.states import ENDED, State
from shared.persistence.deletion import hold_still
from shared.persistence.models import jobs, simulations

# What is left of the last attempt is forgotten as with an automatic retry; earlier attempts do not count toward
# retry.max_attempts, for the user begins anew. The verdict that is left goes with the event, to be counted back.
_QUEUE_AGAIN = text("""
    WITH ended AS (SELECT id, state, passed FROM jobs WHERE simulation = :simulation AND state = ANY (:states)
                   ORDER BY id FOR NO KEY UPDATE),
         uncounted AS (UPDATE attempts SET counted = false FROM ended WHERE attempts.job = ended.id),
         queued AS (
             UPDATE jobs SET state = 'QUEUED', version = version + 1, attempt = attempt + 1, outcome = NULL,
                    message = NULL, exit_code = NULL, passed = NULL, metrics = NULL, progress = NULL,
                    cancel_requested = false, state_since = clock_timestamp(), not_before = NULL, due_at = NULL,
                    started_at = NULL, ended_at = NULL,
                    queue_deadline = clock_timestamp() + make_interval(secs => (
                        SELECT (program->'limits'->>'queue_seconds')::float FROM simulations WHERE id = :simulation))
             FROM ended WHERE jobs.id = ended.id
             RETURNING jobs.id, jobs.owner, jobs.attempt, ended.state AS before, ended.passed AS verdict)
    INSERT INTO events (simulation, job, kind, owner, actor, from_state, to_state, attempt, passed)
    SELECT :simulation, id, 'instance', owner, :actor, before, 'QUEUED', attempt, verdict FROM queued
""")


def lock(tx: Connection, simulation: UUID) -> Row[Any] | None:
    """(owner, state, stop_requested, inputs) of the simulation, which nobody else cancels, retries or deletes until the
    transaction ends; None when there is none."""
    return tx.execute(select(simulations.c.owner, simulations.c.state, simulations.c.stop_requested,
                             simulations.c.program["inputs"].label("inputs"))
                      .where(simulations.c.id == simulation, simulations.c.deleted_at.is_(None))
                      .with_for_update(key_share=True)).first()


def count(tx: Connection, simulation: UUID, states: Collection[State]) -> int:
    """How many of its jobs are in these states."""
    return tx.execute(select(func.count()).select_from(jobs).where(
        jobs.c.simulation == simulation, jobs.c.state.in_(states))).scalar_one()


def is_unended(tx: Connection, simulation: UUID) -> bool:
    """Whether one of its jobs has not ended, whatever its own state says: that is as of the last numbered event."""
    return count(tx, simulation, frozenset(State) - ENDED) > 0


def hold_inputs(tx: Connection, simulation: UUID, inputs: Iterable[str] | None) -> None:
    """Let none of these, which it asked for, be deleted before the transaction ends. IllegalTransition when one has
    been."""
    try:
        hold_still(tx, map(UUID, inputs or ()))
    except NotFound as gone:
        raise IllegalTransition(f"simulation {simulation} lacks an input: {gone}", code="input_deleted",
                                remedy="submit it anew with inputs that are there") from gone


def queue_again(tx: Connection, simulation: UUID, states: Collection[State], actor: str) -> None:
    """Queue those jobs with their next attempt, each with its event; the simulation is wanted again."""
    tx.execute(_QUEUE_AGAIN, {"simulation": simulation, "states": sorted(states), "actor": actor})
    tx.execute(update(simulations).where(simulations.c.id == simulation).values(stop_requested=False, stale=True))
