"""Instances, as the API answers them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, select

from shared.domain.events import rfc3339
from shared.domain.states import SUCCESS, State, phase
from shared.persistence.models import attempts as attempts_table
from shared.persistence.models import bundles, events, jobs, simulations
from webapp.queries import attempts
from webapp.queries.paging import Page, cut, decode, newest_first, visible
from webapp.queries.simulations import Filter, matching

LOG_TAIL_LINES = 100

_IMAGE_DIGEST = (select(attempts_table.c.image_digest)
                 .where(attempts_table.c.job == jobs.c.id, attempts_table.c.number == jobs.c.attempt)
                 .scalar_subquery().label("image_digest"))


def find(tx: Connection, job: UUID, viewer: UUID | None) -> dict[str, Any] | None:
    """The instance with its history and the end of its newest log, if the viewer may see it."""
    row = tx.execute(_instances(viewer).where(jobs.c.id == job)).first()
    if row is None:
        return None
    log = attempts.find(tx, job, row.attempt)
    return _resources(tx, [row])[0] | {
        "transitions": _transitions(tx, job),
        "log_tail": attempts.last_lines(log.log_tail, LOG_TAIL_LINES) if log else "",
    }


def owner(tx: Connection, job: UUID, viewer: UUID | None) -> Row[Any] | None:
    """(owner, attempt) of the instance, if the viewer may see it."""
    return tx.execute(select(jobs.c.owner, jobs.c.attempt)
                      .join(simulations, simulations.c.id == jobs.c.simulation)
                      .where(jobs.c.id == job, visible(simulations, viewer))).first()


def page(tx: Connection, viewer: UUID | None, wanted: Filter, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of all instances, newest first; the filter's states are theirs, the rest is their simulation's."""
    rows, following = newest_first(tx, _narrowed(_instances(viewer), wanted), jobs, page)
    return _resources(tx, rows), following


def page_of_simulation(tx: Connection, simulation: UUID, viewer: UUID | None, states: Sequence[State],
                       page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of a simulation's instances, in the order of their index."""
    query = _narrowed(_instances(viewer).where(jobs.c.simulation == simulation), Filter(states))
    if page.cursor is not None:
        query = query.where(jobs.c.index > decode(page.cursor, _index))
    rows, following = cut(tx.execute(query.order_by(jobs.c.index).limit(page.limit + 1)).all(), page,
                          lambda row: [row.index])
    return _resources(tx, rows), following


def _index(index: Any) -> int:
    if type(index) is not int or not 0 <= index < 2**31:
        raise ValueError("no index")
    return index


def _narrowed(query: Select[Any], wanted: Filter) -> Select[Any]:
    if wanted.states:
        query = query.where(jobs.c.state.in_(wanted.states))
    return matching(query, Filter((), wanted.template, wanted.owner, wanted.labels, wanted.name))


def _instances(viewer: UUID | None) -> Select[Any]:
    return (select(jobs, simulations.c.program["limits"].label("limits"), _IMAGE_DIGEST)
            .join(simulations, simulations.c.id == jobs.c.simulation)
            .where(visible(simulations, viewer)))


def _resources(tx: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    recorded: dict[UUID, list[str]] = defaultdict(list)
    if rows:
        for bundle in tx.execute(select(bundles.c.job, bundles.c.id)
                                 .where(bundles.c.job.in_([row.id for row in rows]), visible(bundles, None))
                                 .order_by(bundles.c.created_at, bundles.c.id)):
            recorded[bundle.job].append(str(bundle.id))
    return [_resource(row, recorded[row.id]) for row in rows]


def _resource(row: Row[Any], recorded: list[str]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "simulation": str(row.simulation),
        "index": row.index,
        "state": row.state,
        "phase": phase(State(row.state)),
        "attempt": row.attempt,
        "reason": None if row.outcome == SUCCESS else row.outcome,
        "message": row.message,
        "exit_code": row.exit_code,
        "image_digest": row.image_digest,
        "passed": row.passed,
        "metrics": row.metrics,
        "parameters": row.parameters,
        "seed": row.seed,
        "limits": row.limits,
        "progress": row.progress and {key: row.progress.get(key) for key in ("percent", "sim_time", "message")},
        "created_at": rfc3339(row.created_at),
        "started_at": row.started_at and rfc3339(row.started_at),
        "ended_at": row.ended_at and rfc3339(row.ended_at),
        "bundles": recorded,
    }


def _transitions(tx: Connection, job: UUID) -> list[dict[str, Any]]:
    rows = tx.execute(select(events).where(events.c.job == job, events.c.number.is_not(None))
                      .order_by(events.c.number))
    return [{"number": row.number, "from": row.from_state, "to": row.to_state, "reason": row.reason,
             "at": rfc3339(row.at), "attempt": row.attempt} for row in rows]
