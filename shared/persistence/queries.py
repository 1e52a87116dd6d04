"""The questions that both web and workers ask of the database, and the small writes that are no states."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.domain.errors import InvalidSpec
from shared.domain.states import LIVE, State
from shared.persistence.models import NOW, attempts, idempotency_keys, jobs, leases, simulations

IDEMPOTENCY_KEY_LIFE = timedelta(hours=24)

JobRow = Row[Any]  # a job, its program, its present attempt, and the database's `now`

PROGRAM = func.coalesce(jobs.c.program, simulations.c.program, type_=JSONB).label("program")
_JOBS = (
    select(*(column for column in jobs.c if column is not jobs.c.program), PROGRAM, NOW.label("now"),
           attempts.c.gate_passed_at, attempts.c.host, attempts.c.boot, attempts.c.salvages,
           attempts.c.started_at.label("attempt_started_at"))
    .outerjoin(simulations, simulations.c.id == jobs.c.simulation)
    .outerjoin(attempts, (attempts.c.job == jobs.c.id) & (attempts.c.number == jobs.c.attempt)))
# Only what tells what is to be done about a job: the watcher reads all of them every other second.
_LIVE_JOBS = _JOBS.with_only_columns(
    jobs.c.id, jobs.c.attempt, jobs.c.kind, jobs.c.state, jobs.c.state_since, jobs.c.due_at, jobs.c.progress_at,
    PROGRAM, NOW.label("now"), attempts.c.gate_passed_at, attempts.c.host, attempts.c.boot,
    attempts.c.started_at.label("attempt_started_at"), maintain_column_froms=True) \
    .where(jobs.c.state.in_(LIVE)).order_by(jobs.c.due_at)
_JOB = _JOBS.add_columns(attempts.c.facts).where(jobs.c.id == bindparam("row"))


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key with what was asked, and what will be answered if it is new."""

    owner: UUID
    key: str
    request: str
    status: int
    body: dict[str, Any]


def claim_answer(tx: Connection, new: Idempotency) -> tuple[int, dict[str, Any]] | None:
    """None when the key is new: it is taken, by this transaction. Else the answer given before.

    A second request with the key waits here until the first one's transaction has ended. InvalidSpec when the key
    was used for another request.
    """
    this = (idempotency_keys.c.owner == new.owner) & (idempotency_keys.c.key == new.key)
    tx.execute(delete(idempotency_keys).where(this, idempotency_keys.c.created_at < NOW - IDEMPOTENCY_KEY_LIFE))
    claimed = tx.execute(upsert(idempotency_keys).values(
        owner=new.owner, key=new.key, request=new.request, status=new.status, body=new.body
    ).on_conflict_do_nothing()).rowcount
    if claimed:
        return None
    known = tx.execute(select(idempotency_keys).where(this)).one()
    if known.request != new.request:
        raise InvalidSpec("this Idempotency-Key was used for another request", code="idempotency_mismatch",
                          remedy="use a new key for a new request")
    return known.status, known.body


def job_by_id(tx: Connection, job: UUID) -> JobRow | None:
    """The job with what its recorder said, None when there is none."""
    return tx.execute(_JOB, {"row": job}).first()


def jobs_by_id(tx: Connection, ids: Sequence[UUID]) -> Sequence[JobRow]:
    """The same for several; those that do not exist are left out."""
    return tx.execute(_JOBS.where(jobs.c.id.in_(ids))).all()


def live_jobs(tx: Connection) -> Sequence[JobRow]:
    """Every job that holds a slot, with its program and times, without what it was given and has brought; those whose
    task is due longest come first."""
    return tx.execute(_LIVE_JOBS).all()


def postpone(tx: Connection, ids: Sequence[UUID], wait: timedelta) -> None:
    """Let the sweep leave these jobs' tasks alone for so long."""
    held = select(jobs.c.id).where(jobs.c.id.in_(ids)).order_by(jobs.c.id).with_for_update(key_share=True)
    tx.execute(update(jobs).where(jobs.c.id.in_(held)).values(due_at=NOW + wait))


def begin_salvage(tx: Connection, row: JobRow, token_hash: str) -> bool:
    """Give the attempt's next recorder its token, and count it; False when somebody else has done so meanwhile, or the
    last one has spoken."""
    return tx.execute(
        update(attempts).where(attempts.c.job == row.id, attempts.c.number == row.attempt,
                               attempts.c.salvages == row.salvages, attempts.c.facts.is_(None))
        .values(token_hash=token_hash, salvages=attempts.c.salvages + 1)
    ).rowcount == 1


def kept_attempts(tx: Connection, ids: Sequence[UUID]) -> set[tuple[UUID, int]]:
    """(job, number) of those jobs' attempts whose folder holds what did not arrive."""
    rows = tx.execute(select(attempts.c.job, attempts.c.number).where(attempts.c.job.in_(ids), attempts.c.kept)).all()
    return {(row.job, row.number) for row in rows}


def overstayed_jobs(tx: Connection, limit: int) -> Sequence[Row[Any]]:
    """Queued jobs whose queue limit has run out: id, attempt."""
    return tx.execute(select(jobs.c.id, jobs.c.attempt).where(
        jobs.c.state == State.QUEUED, jobs.c.queue_deadline <= NOW).limit(limit)).all()


def hold_lease(tx: Connection, name: str, holder: str, life: timedelta) -> bool:
    """Take or renew the lease of that name; False while somebody else's has not run out."""
    return tx.execute(
        upsert(leases).values(name=name, holder=holder, epoch=1, until=NOW + life)
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "epoch": leases.c.epoch + 1, "until": NOW + life},
            # A lease that ends later than any could was written before the clock was set back.
            where=(leases.c.holder == holder) | (leases.c.until < NOW) | (leases.c.until > NOW + life))
    ).rowcount == 1
