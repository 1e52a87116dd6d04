"""Chooses which queued jobs get the free slots. Called by lifecycle.admit, inside its transaction."""

from collections import Counter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, text, update

from shared.domain.states import LIVE
from shared.persistence.models import installation, jobs

ADMISSION_LOCK = 0x51_4D_59_02

# The oldest waiting jobs of each simulation, no more than there are slots; taken jobs are skipped, never waited for.
_CANDIDATES = text("""
    SELECT s.id AS simulation, s.owner, s.priority, s.max_parallel, j.id
    FROM simulations s CROSS JOIN LATERAL (
        SELECT id, index FROM jobs WHERE simulation = s.id AND state = 'QUEUED'
               AND (not_before IS NULL OR not_before <= clock_timestamp())
        ORDER BY index LIMIT :free FOR UPDATE SKIP LOCKED) j
    WHERE s.state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND NOT s.stop_requested
    ORDER BY s.created_at, s.id, j.index
""")


def choose(tx: Connection, slots: int) -> list[UUID]:
    """The jobs to start now, locked until the transaction ends: by priority, then the owner with the fewest live,
    then age. One admission at a time in the whole installation, so that slots are never given twice."""
    tx.execute(select(func.pg_advisory_xact_lock(ADMISSION_LOCK)))
    live = tx.execute(select(jobs.c.owner, jobs.c.simulation, func.count().label("jobs"))
                      .where(jobs.c.state.in_(LIVE)).group_by(jobs.c.owner, jobs.c.simulation)).all()
    free = slots - sum(row.jobs for row in live)
    if free <= 0 or not tx.execute(select(installation.c.admission_open)).scalar_one():
        return []
    by_owner: Counter[UUID] = Counter()
    by_simulation: Counter[UUID] = Counter()
    for row in live:
        by_owner[row.owner] += row.jobs
        by_simulation[row.simulation] += row.jobs
    return _fill(free, tx.execute(_CANDIDATES, {"free": free}).all(), by_owner, by_simulation)


def _fill(free: int, candidates: Any, by_owner: Counter[UUID], by_simulation: Counter[UUID]) -> list[UUID]:
    waiting: dict[UUID, list[Row[Any]]] = {}
    for row in candidates:
        waiting.setdefault(row.simulation, []).append(row)
    for rows in waiting.values():
        rows.reverse()  # the oldest last, to pop
    chosen: list[UUID] = []
    while len(chosen) < free:
        heads = [rows[-1] for simulation, rows in waiting.items()
                 if rows and (rows[-1].max_parallel is None or by_simulation[simulation] < rows[-1].max_parallel)]
        if not heads:
            break
        row = min(heads, key=lambda head: (-head.priority, by_owner[head.owner]))  # the first is the oldest
        waiting[row.simulation].pop()
        by_owner[row.owner] += 1
        by_simulation[row.simulation] += 1
        chosen.append(row.id)
    return chosen


def set_open(tx: Connection, is_open: bool) -> None:
    """Whether admission gives out slots at all."""
    tx.execute(update(installation).values(admission_open=is_open))
