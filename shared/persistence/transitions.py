"""The statements by which lifecycle moves jobs, attempts and their events. Nobody else calls them.

Every move is written under the job's lock, and its event in the same transaction.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, Interval, Row, Update, bindparam, case, func, insert, literal, select, text, update

from shared.domain.moves import Move
from shared.domain.states import ENDED, OVERDUE_SECONDS, SUCCESS, Kind, Reason, State, check
from shared.persistence.models import NOW, attempts, events, jobs, simulations
from shared.persistence.queries import PROGRAM

RETRY_BACKOFF_SECONDS = (2, 10, 60)


def lock(tx: Connection, condition: Any) -> Sequence[Row[Any]]:
    """The jobs, locked in the order of their ids (two that lock in different orders deadlock), with what is
    needed to move them. Read by a second statement: one that had to wait for the lock still sees what was there
    when it began, and a gate passed meanwhile would be missed."""
    ids = tx.execute(select(jobs.c.id).where(condition).order_by(jobs.c.id)
                     .with_for_update(key_share=True)).scalars().all()
    return tx.execute(
        select(*(column for column in jobs.c if column is not jobs.c.program), PROGRAM, attempts.c.gate_passed_at)
        .outerjoin(simulations, simulations.c.id == jobs.c.simulation)
        .outerjoin(attempts, (attempts.c.job == jobs.c.id) & (attempts.c.number == jobs.c.attempt))
        .where(jobs.c.id.in_(ids)).order_by(jobs.c.id)
    ).all()


def move(tx: Connection, actor: str, held: Sequence[tuple[Row[Any], Move]], passed: bool | None = None) -> None:
    """Write locked jobs' new states and their events. Grouped by move, for each kind writes other columns."""
    for row, wanted in held:
        check(State(row.state), wanted.new)
    for new in {wanted.new for _, wanted in held}:
        group = [(row, wanted) for row, wanted in held if wanted.new == new]
        _update_jobs(tx, new, group)
        _update_attempts(tx, new, [wanted for _, wanted in group])
    if lost := [row.id for row, wanted in held if row.kind == Kind.INGEST and wanted.new in ENDED]:
        tx.execute(_FAIL_BUNDLES, {"ids": lost})
    _insert_events(tx, actor, held, passed)


def _update_jobs(tx: Connection, new: State, group: Sequence[tuple[Row[Any], Move]]) -> None:
    if new == State.QUEUED:
        rows = [{"row": row.id, "wait": _backoff(row, wanted)} for row, wanted in group]
    else:
        rows = [{"row": row.id, "result": wanted.outcome, "note": wanted.message, "code": wanted.exit_code}
                for row, wanted in group]
    tx.execute(_update_to(new), rows)


def _backoff(row: Row[Any], wanted: Move) -> timedelta:
    """How long an automatic retry waits: not at all when the attempt was none of its own fault."""
    if wanted.outcome in (None, Reason.PREEMPTED):
        return timedelta()
    return timedelta(seconds=RETRY_BACKOFF_SECONDS[min(row.attempt, len(RETRY_BACKOFF_SECONDS)) - 1])


def _update_attempts(tx: Connection, new: State, moves: Sequence[Move]) -> None:
    this = (attempts.c.job == bindparam("row"), attempts.c.number == bindparam("n"))
    image = func.coalesce(attempts.c.image_digest, bindparam("image"))  # seen once, it stays
    if new == State.RUNNING:
        tx.execute(update(attempts).where(*this).values(started_at=NOW, image_digest=image),
                   [{"row": wanted.job, "n": wanted.attempt, "image": wanted.image_digest} for wanted in moves])
    if new == State.COLLECTING:
        tx.execute(update(attempts).where(*this).values(
            ended_at=NOW, exit_code=bindparam("code"), image_digest=image),
            [{"row": wanted.job, "n": wanted.attempt, "code": wanted.exit_code, "image": wanted.image_digest}
             for wanted in moves])
    if uncounted := [{"row": wanted.job, "n": wanted.attempt} for wanted in moves if not wanted.counted]:
        tx.execute(update(attempts).where(*this).values(counted=False), uncounted)


def _insert_events(tx: Connection, actor: str, held: Sequence[tuple[Row[Any], Move]], passed: bool | None) -> None:
    if held:
        tx.execute(insert(events), [
            {"simulation": row.simulation, "job": row.id, "kind": row.kind, "owner": row.owner, "actor": actor,
             "from_state": str(wanted.old), "to_state": str(wanted.new), "attempt": wanted.attempt, "passed": passed,
             "reason": None if wanted.outcome == SUCCESS else wanted.outcome} for row, wanted in held])


# Moves without a join: nothing of the attempt is asked, and one statement locks and reads.
LOCK_MANY = (select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True)))
              .order_by(jobs.c.id).with_for_update(key_share=True))


def _columns_of(new: State) -> dict[str, Any]:
    """What every move to this state writes."""
    overdue = OVERDUE_SECONDS.get(new)
    values: dict[str, Any] = {
        "state": literal(str(new)), "version": jobs.c.version + 1, "state_since": NOW,
        "due_at": None if overdue is None else NOW + timedelta(seconds=overdue)}
    if new == State.STARTING:
        values["queue_deadline"] = None
    if new == State.RUNNING:
        values["started_at"] = func.coalesce(jobs.c.started_at, NOW)
    if new == State.COLLECTING:  # it may have ended before anybody saw it run
        passed = select(attempts.c.gate_passed_at).where(
            attempts.c.job == jobs.c.id, attempts.c.number == jobs.c.attempt)
        values["started_at"] = func.coalesce(jobs.c.started_at, passed.scalar_subquery())
    if new in ENDED:
        values["ended_at"] = NOW
    return values


# A message tells of the outcome, or, while there is none, why the start is put off.
_FIRST_WORD = case((jobs.c.outcome.is_not(None), jobs.c.message))
_PUT_OFF = case((jobs.c.outcome.is_(None), jobs.c.message))
PUT_OFF = (update(jobs).where(jobs.c.id == bindparam("row"), jobs.c.attempt == bindparam("n"),
                              jobs.c.state == State.STARTING, jobs.c.outcome.is_(None))
           .values(message=bindparam("why"), version=jobs.c.version + 1))


@cache
def _update_to(new: State) -> Update:
    """The statement that moves a locked job to this state; the outcome that was first stays."""
    if new == State.QUEUED:
        more: dict[str, Any] = {
            "attempt": jobs.c.attempt + 1, "outcome": None, "exit_code": None, "progress": None, "passed": None,
            "metrics": None, "message": _PUT_OFF, "not_before": NOW + bindparam("wait", type_=Interval)}
    else:
        more = {"outcome": func.coalesce(jobs.c.outcome, bindparam("result")),
                "message": func.coalesce(_FIRST_WORD, bindparam("note")),
                "exit_code": func.coalesce(jobs.c.exit_code, bindparam("code"))}
    return update(jobs).where(jobs.c.id == bindparam("row")).values(_columns_of(new) | more)


# Every start waits for these two, so each is one statement, made once.
_ADMITTED = (update(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True)), jobs.c.state == State.QUEUED)
             .values(_columns_of(State.STARTING))
             .returning(jobs.c.id, jobs.c.attempt, jobs.c.simulation, jobs.c.owner, jobs.c.kind).cte("admitted"))
_BEGUN = (insert(attempts).from_select(["job", "number"], select(_ADMITTED.c.id, _ADMITTED.c.attempt)).cte("begun"))
ADMIT = (
    insert(events).from_select(
        ["simulation", "job", "kind", "owner", "actor", "from_state", "to_state", "attempt"],
        select(_ADMITTED.c.simulation, _ADMITTED.c.id, _ADMITTED.c.kind, _ADMITTED.c.owner, literal("admission"),
               literal(str(State.QUEUED)), literal(str(State.STARTING)), _ADMITTED.c.attempt))
    .add_cte(_BEGUN).returning(events.c.job, events.c.kind))
PASS_GATE = (
    update(attempts)
    .where(attempts.c.job.in_(
               select(jobs.c.id).where(jobs.c.id == bindparam("row"), jobs.c.attempt == bindparam("n"),
                                       jobs.c.state == State.STARTING).with_for_update(key_share=True)),
           attempts.c.number == bindparam("n"), attempts.c.gate_passed_at.is_(None))
    .values(gate_passed_at=NOW, host=bindparam("where"), boot=bindparam("since"), token_hash=bindparam("token")))

# A bundle whose ingest ended without finding out what it is; one that was found out is not INGESTING any more.
_FAIL_BUNDLES = text("""
    UPDATE bundles SET state = 'FAILED', reason = jobs.outcome,
           problems = jsonb_build_array(jsonb_build_object(
               'code', jobs.outcome, 'file', NULL, 'topic', NULL, 'message', coalesce(jobs.message, jobs.outcome)))
    FROM jobs WHERE jobs.id = ANY(CAST(:ids AS uuid[])) AND bundles.id = jobs.bundle AND bundles.state = 'INGESTING'
""")
