"""What came of a simulation's instances, a batch at a time. Used by webapp.results."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by

from shared.domain.events import rfc3339
from shared.domain.states import SUCCESS
from shared.persistence.models import bundles, jobs, simulations
from webapp.queries.paging import visible

BATCH = 1000

_BUNDLES = (select(func.array_agg(aggregate_order_by(bundles.c.id, bundles.c.created_at, bundles.c.id)))
            .where(bundles.c.job == jobs.c.id, bundles.c.deleted_at.is_(None)).scalar_subquery().label("bundles"))
_HEAD = select(simulations.c.id, simulations.c.name, simulations.c.total,
               simulations.c.spec["parameter_order"].label("order"))
_BATCH = (select(jobs.c.index, jobs.c.id, jobs.c.state, jobs.c.outcome, jobs.c.passed, jobs.c.attempt, jobs.c.exit_code,
                 jobs.c.seed, jobs.c.parameters, jobs.c.metrics, jobs.c.started_at, jobs.c.ended_at, _BUNDLES)
          .where(jobs.c.simulation == bindparam("simulation"),
                 # Not a limit: with that a planner that knows little of the table sorts all that is left, each time.
                 jobs.c.index.between(bindparam("first"), bindparam("last")))
          .order_by(jobs.c.index))
_NAMES = text("""
    SELECT 'parameters' AS part, name FROM jobs, jsonb_object_keys(parameters) AS name WHERE simulation = :simulation
    UNION
    SELECT 'metrics', name FROM jobs, jsonb_object_keys(CASE WHEN jsonb_typeof(metrics) = 'object' THEN metrics END)
           AS name WHERE simulation = :simulation""")


@dataclass(frozen=True)
class Head:
    """The simulation whose results are read; `order` is that of its parameters."""

    id: UUID
    name: str
    total: int
    order: list[str]


@dataclass(frozen=True)
class Names:
    """What the parameters and metrics of all instances are called, in a fixed order."""

    parameters: list[str]
    metrics: list[str]


def head(tx: Connection, simulation: UUID, viewer: UUID | None) -> Head | None:
    """The simulation, if the viewer may see it."""
    row = tx.execute(_HEAD.where(simulations.c.id == simulation, visible(simulations, viewer))).first()
    return None if row is None else Head(row.id, row.name, row.total, row.order or [])


def names(tx: Connection, of: Head) -> Names:
    """Those of all its instances: parameters as they were submitted, the others behind them by the alphabet."""
    found = tx.execute(_NAMES, {"simulation": of.id}).all()
    parameters, metrics = ({row.name for row in found if row.part == part} for part in ("parameters", "metrics"))
    submitted = [name for name in of.order if name in parameters]
    return Names(submitted + sorted(parameters.difference(submitted)), sorted(metrics))


def batch(tx: Connection, simulation: UUID, first: int) -> list[dict[str, Any]]:
    """The instances of index `first` on, by index, as many as BATCH."""
    return [_result(row) for row in
            tx.execute(_BATCH, {"simulation": simulation, "first": first, "last": first + BATCH - 1})]


def _result(row: Row[Any]) -> dict[str, Any]:
    return {
        "index": row.index,
        "id": str(row.id),
        "state": row.state,
        "reason": None if row.outcome == SUCCESS else row.outcome,
        "passed": row.passed,
        "attempt": row.attempt,
        "exit_code": row.exit_code,
        "seed": row.seed,
        "parameters": row.parameters,
        "metrics": row.metrics,
        "started_at": row.started_at and rfc3339(row.started_at),
        "ended_at": row.ended_at and rfc3339(row.ended_at),
        "duration_seconds": _seconds(row),
        "bundles": [str(bundle) for bundle in row.bundles or ()],
    }


def _seconds(row: Row[Any]) -> float | None:
    return (row.ended_at - row.started_at).total_seconds() if row.started_at and row.ended_at else None
