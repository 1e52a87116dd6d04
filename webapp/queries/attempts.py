"""Attempts: their logs, and what a recorder's call is checked against."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select

from shared.domain.states import ENDED
from shared.persistence.models import attempts, jobs, simulations
from shared.persistence.queries import PROGRAM


def find(tx: Connection, job: UUID, attempt: int) -> Row[Any] | None:
    """`number` (null before the attempt was admitted), log_tail, log_end, log_key, and whether the attempt is `over`.
    None when there is no such job."""
    return tx.execute(
        select(attempts.c.number, func.coalesce(attempts.c.log_tail, "").label("log_tail"),
               func.coalesce(attempts.c.log_end, 0).label("log_end"), attempts.c.log_key,
               ((jobs.c.attempt != attempt) | jobs.c.state.in_(ENDED)).label("over"))
        .outerjoin_from(jobs, attempts, (attempts.c.job == jobs.c.id) & (attempts.c.number == attempt))
        .where(jobs.c.id == job)).first()


def for_recorder(tx: Connection, job: UUID, attempt: int) -> Row[Any] | None:
    """token_hash of the attempt, with id, simulation, bundle, program, kind, state and attempt (the present one) of its
    job."""
    return tx.execute(
        select(attempts.c.token_hash, jobs.c.id, jobs.c.simulation, jobs.c.bundle, jobs.c.kind, jobs.c.state,
               jobs.c.attempt, PROGRAM)
        .join(jobs, jobs.c.id == attempts.c.job)
        .outerjoin(simulations, simulations.c.id == jobs.c.simulation)
        .where(attempts.c.job == job, attempts.c.number == attempt)).first()


def files(tx: Connection, job: UUID, attempt: int) -> list[dict[str, Any]] | None:
    """What the attempt left besides recordings: path, size, sha256. None when the instance has no such attempt."""
    found: list[dict[str, Any]] | None = tx.execute(
        select(attempts.c.files).where(attempts.c.job == job, attempts.c.number == attempt)).scalar()
    return found


def last_lines(text: str, count: int) -> str:
    """The last `count` lines of `text`."""
    return "".join(text.splitlines(keepends=True)[-count:]) if count else ""
