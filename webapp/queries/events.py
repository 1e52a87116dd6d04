"""Numbered events, for streams. Nothing unnumbered is ever shown."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    func,
    lateral,
    or_,
    select,
    true,
    union,
)

from shared.domain.events import Event
from shared.domain.states import LIVE, State
from shared.persistence.models import bundles, events, installation, jobs, simulations
from webapp.queries.paging import visible

# Who may see an event is its simulation's matter, or the bundle's that a job without one works on.
_HOLDER = func.coalesce(simulations.c.owner, bundles.c.owner).label("holder")
_PRIVATE = func.coalesce(simulations.c.visibility, bundles.c.visibility).is_distinct_from("team").label("private")


def _with_holders(query: Select[Any], told: FromClause) -> Select[Any]:
    """`query`, joined to what the events that `told` selects are of."""
    return query.select_from(
        told.outerjoin(simulations, simulations.c.id == told.c.simulation)
        .outerjoin(jobs, and_(jobs.c.id == told.c.job, told.c.simulation.is_(None)))
        .outerjoin(bundles, bundles.c.id == jobs.c.bundle))


def _seen(viewer: BindParameter[Any] | None) -> ColumnElement[bool]:
    return or_(and_(simulations.c.id.is_not(None), visible(simulations, viewer)),
               and_(bundles.c.id.is_not(None), visible(bundles, viewer)))


def _after(*columns: ColumnElement[Any]) -> Select[Any]:
    return (_with_holders(select(events, *columns), events)
            .where(events.c.number > bindparam("after")).order_by(events.c.number))


def _live_jobs(viewer: BindParameter[Any] | None) -> Select[Any]:
    waits = and_(jobs.c.state == State.QUEUED, jobs.c.simulation.is_(None))
    candidates = union(select(jobs.c.id).where(jobs.c.state.in_(LIVE)), select(jobs.c.id).where(waits),
                       select(events.c.job).where(events.c.number.is_(None), events.c.job.is_not(None))).subquery()
    last = lateral(select(events).where(events.c.job == candidates.c.id, events.c.number.is_not(None))
                   .order_by(events.c.number.desc()).limit(1)).alias("last")
    lives = or_(last.c.to_state.in_(LIVE), and_(last.c.to_state == State.QUEUED, last.c.simulation.is_(None)))
    return (select(last, jobs.c.progress, jobs.c.attempt.label("present_attempt"))
            .select_from(candidates.join(last, true()).join(jobs, jobs.c.id == candidates.c.id)
                         .outerjoin(simulations, simulations.c.id == jobs.c.simulation)
                         .outerjoin(bundles, bundles.c.id == jobs.c.bundle))
            .where(_seen(viewer), lives).order_by(last.c.number.desc()).limit(bindparam("limit")))


# Built once: building them takes longer than running them. By whether everything is seen.
_VIEWER = bindparam("viewer", type_=simulations.c.owner.type)
_AFTER = _after(_HOLDER, _PRIVATE).limit(bindparam("limit"))
_VISIBLE_AFTER = {True: _after().where(_seen(None)), False: _after().where(_seen(_VIEWER))}
_LIVE_JOBS = {True: _live_jobs(None), False: _live_jobs(_VIEWER)}


def last_number(tx: Connection) -> int:
    """The highest number given so far, in the whole installation."""
    return int(tx.execute(select(installation.c.last_event)).scalar_one())


def after(tx: Connection, number: int, limit: int) -> Sequence[Row[Any]]:
    """The events after `number`, in order, each with `holder` and `private`: only an admin and the holder see what is
    private. Numbers are dense, so none is skipped."""
    return tx.execute(_AFTER, {"after": number, "limit": limit}).all()


def visible_after(tx: Connection, number: int, viewer: UUID | None) -> Sequence[Row[Any]]:
    """Those that the viewer may see."""
    return tx.execute(_VISIBLE_AFTER[viewer is None], {"after": number, "viewer": viewer}).all()


def of_simulation(tx: Connection, simulation: UUID, number: int, limit: int) -> Sequence[Row[Any]]:
    """The events after `number` of one simulation alone."""
    return tx.execute(select(events).where(events.c.simulation == simulation, events.c.number > number)
                      .order_by(events.c.number).limit(limit)).all()


def access(tx: Connection, simulation: UUID | None, job: UUID) -> Row[Any] | None:
    """(holder, private) of what is told of this job, if there is such a thing."""
    if simulation is not None:
        return tx.execute(select(simulations.c.owner.label("holder"), (simulations.c.visibility != "team")
                                 .label("private")).where(simulations.c.id == simulation)).first()
    return tx.execute(select(bundles.c.owner.label("holder"), (bundles.c.visibility != "team").label("private"))
                      .join(jobs, jobs.c.bundle == bundles.c.id).where(jobs.c.id == job)).first()


def last_of_jobs(tx: Connection, simulation: UUID, limit: int) -> list[dict[str, Any]]:
    """The wire form of each job's last numbered event, with its progress, the newest first; jobs that never moved have
    none."""
    newer = events.alias()
    # Walks the index by number, and looks for a newer event of each job: what it costs follows from the limit.
    rows = tx.execute(
        select(events, jobs.c.progress, jobs.c.attempt.label("present_attempt"))
        .join(jobs, jobs.c.id == events.c.job)
        .where(events.c.simulation == simulation, events.c.number.is_not(None),
               ~select(newer.c.id).where(newer.c.job == events.c.job, newer.c.number > events.c.number).exists())
        .order_by(events.c.number.desc()).limit(limit)).all()
    return [_with_progress(row) for row in rows]


def last_of_live_jobs(tx: Connection, viewer: UUID | None, limit: int) -> list[dict[str, Any]]:
    """The same of every job that runs, and of those that wait without a simulation to count them, if the viewer may see
    them; the newest events first. A job lives here until its end is numbered."""
    rows = tx.execute(_LIVE_JOBS[viewer is None], {"viewer": viewer, "limit": limit}).all()
    return [_with_progress(row) for row in rows]


def _with_progress(row: Row[Any]) -> dict[str, Any]:
    return wire(row, row.progress if row.attempt == row.present_attempt else None)


def wire(row: Row[Any], progress: dict[str, Any] | None = None) -> dict[str, Any]:
    """The contract's form of an event."""
    return Event(number=row.number, simulation=row.simulation, job=row.job, kind=row.kind, state=State(row.to_state),
                 reason=row.reason, at=row.at, attempt=row.attempt, progress=progress).wire()
