"""Numbered events, for streams. Nothing unnumbered is ever shown."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select

from shared.domain.events import Event
from shared.domain.states import State
from shared.persistence.models import events, installation, jobs


def last_number(tx: Connection) -> int:
    """The highest number given so far, in the whole installation."""
    return int(tx.execute(select(installation.c.last_event)).scalar_one())


def after(tx: Connection, number: int, limit: int) -> Sequence[Row[Any]]:
    """The events after `number`, in order; numbers are dense, so none is skipped."""
    return tx.execute(select(events).where(events.c.number > number).order_by(events.c.number).limit(limit)).all()


def of_simulation(tx: Connection, simulation: UUID, number: int, limit: int) -> Sequence[Row[Any]]:
    """The same of one simulation alone."""
    return tx.execute(select(events).where(events.c.simulation == simulation, events.c.number > number)
                      .order_by(events.c.number).limit(limit)).all()


def last_of_jobs(tx: Connection, simulation: UUID) -> list[dict[str, Any]]:
    """The wire form of each job's last numbered event, with its progress; jobs that never moved have none."""
    rows = tx.execute(
        select(events, jobs.c.progress, jobs.c.attempt.label("present_attempt"))
        .join(jobs, jobs.c.id == events.c.job)
        .where(events.c.simulation == simulation, events.c.number.is_not(None))
        .distinct(events.c.job).order_by(events.c.job, events.c.number.desc())).all()
    return [wire(row, row.progress if row.attempt == row.present_attempt else None) for row in rows]


def wire(row: Row[Any], progress: dict[str, Any] | None = None) -> dict[str, Any]:
    """The contract's form of an event."""
    return Event(number=row.number, simulation=row.simulation, job=row.job, kind=row.kind, state=State(row.to_state),
                 reason=row.reason, at=row.at, attempt=row.attempt, progress=progress).wire()
