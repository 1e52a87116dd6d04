"""Simulations, as the API answers them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Row, Select, any_, bindparam, case, func, null, select

from shared.domain.events import rfc3339
from shared.domain.states import ENDED, State, derive, phase
from shared.persistence.models import simulations
from webapp.queries.paging import Page, newest_first, visible

PRIORITIES = {"low": -1, "normal": 0, "high": 1}
LISTED_SPEC_BYTES = 16_384

_PRIORITY_NAMES = {value: name for name, value in PRIORITIES.items()}
_STATUS = (simulations.c.id, simulations.c.state, simulations.c.total, simulations.c.counts, simulations.c.verdicts,
           simulations.c.updated_at)
# Built once: polls ask for nothing else, and building a statement takes longer than running it.
_STATUS_OF = select(*_STATUS).where(simulations.c.id == bindparam("simulation"), visible(simulations, None))
_STATUS_IF_VISIBLE = _STATUS_OF.where(visible(simulations, bindparam("viewer", type_=simulations.c.owner.type)))
_STATUSES = (select(*_STATUS, simulations.c.owner, (simulations.c.visibility != "team").label("private"))
             .where(simulations.c.id == any_(bindparam("wanted", type_=ARRAY(simulations.c.id.type))),
                    visible(simulations, None)))
_ALL_BUT_SPEC = [*(column for column in simulations.c if column.name not in ("spec", "program", "stale")),
                 simulations.c.program["limits"].label("limits")]
_IMAGE = simulations.c.program["image"].astext.label("image")
# A page of submissions with a thousand points each would be hundreds of megabytes.
_LISTED_SPEC = case((func.pg_column_size(simulations.c.spec) <= LISTED_SPEC_BYTES, simulations.c.spec),
                                 else_=null()).label("spec")


@dataclass(frozen=True)
class Filter:
    """Which simulations are wanted; empty means any."""

    states: Sequence[State] = ()
    template: str | None = None
    owner: UUID | None = None
    labels: dict[str, str] = field(default_factory=dict)
    name: str | None = None


def find(tx: Connection, simulation: UUID, viewer: UUID | None) -> dict[str, Any] | None:
    """The simulation, if the viewer may see it."""
    row = tx.execute(select(*_ALL_BUT_SPEC, _IMAGE, simulations.c.spec)
                     .where(simulations.c.id == simulation, visible(simulations, viewer))).first()
    return None if row is None else _resource(row)


def page(tx: Connection, viewer: UUID | None, wanted: Filter, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of them, newest first. `spec` is null where it is larger than LISTED_SPEC_BYTES as stored."""
    query = matching(select(*_ALL_BUT_SPEC, _IMAGE, _LISTED_SPEC), wanted).where(visible(simulations, viewer))
    rows, following = newest_first(tx, query, simulations, page)
    return [_resource(row) for row in rows], following


def matching(query: Select[Any], wanted: Filter) -> Select[Any]:
    """`query`, which reads simulations, narrowed to those that fit. States are the caller's business."""
    if wanted.states:
        query = query.where(simulations.c.state.in_(wanted.states))
    if wanted.template:
        name, _, version = wanted.template.partition("@")
        query = query.where(simulations.c.template == name)
        if version:
            query = query.where(simulations.c.template_version == int(version))
    if wanted.owner:
        query = query.where(simulations.c.owner == wanted.owner)
    if wanted.labels:
        query = query.where(simulations.c.labels.contains(wanted.labels))
    if wanted.name:
        query = query.where(simulations.c.name.icontains(wanted.name, autoescape=True))
    return query


def owner(tx: Connection, simulation: UUID, viewer: UUID | None) -> Row[Any] | None:
    """(owner,) of the simulation, if the viewer may see it."""
    return tx.execute(select(simulations.c.owner)
                      .where(simulations.c.id == simulation, visible(simulations, viewer))).first()


def status(tx: Connection, simulation: UUID, viewer: UUID | None) -> dict[str, Any] | None:
    """The contract's status, from the simulation's row alone, if the viewer may see it."""
    row = tx.execute(_STATUS_IF_VISIBLE if viewer else _STATUS_OF, {"simulation": simulation, "viewer": viewer}).first()
    return None if row is None else _status(row)


def statuses(tx: Connection, wanted: Collection[UUID]) -> dict[UUID, tuple[dict[str, Any], UUID | None, bool]]:
    """The status of each of these that is there, with its owner and whether it is private."""
    rows = tx.execute(_STATUSES, {"wanted": list(wanted)}).all()
    return {row.id: (_status(row), row.owner, row.private) for row in rows}


def unended(tx: Connection, viewer: UUID | None, limit: int) -> list[dict[str, Any]]:
    """The status of each simulation that has not ended and that the viewer may see, newest first."""
    query = select(*_STATUS).where(simulations.c.state.not_in(ENDED), visible(simulations, viewer))
    return [_status(row) for row in tx.execute(query.order_by(simulations.c.created_at.desc()).limit(limit))]


def _status(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "state": row.state,
        "phase": phase(State(row.state)),
        "total": row.total,
        "counts": {state: row.counts.get(state, 0) for state in State},
        "verdicts": {verdict: row.verdicts.get(verdict, 0) for verdict in ("passed", "not_passed", "none")},
        "percent": _percent(row.counts, row.total),
        "updated_at": rfc3339(row.updated_at),
    }


def _percent(counts: dict[str, int], total: int) -> float:
    return round(100 * sum(counts.get(state, 0) for state in ENDED) / total, 2) if total else 100.0


def _resource(row: Row[Any]) -> dict[str, Any]:
    return _status(row) | {
        "name": row.name,
        "owner": row.owner and str(row.owner),
        "visibility": row.visibility,
        "labels": row.labels,
        "template": {"name": row.template, "version": row.template_version},
        "image_digest": (row.image or "").partition("@")[2] or None,
        "seed": row.seed,
        "priority": _PRIORITY_NAMES.get(row.priority, "normal"),
        "max_parallel": row.max_parallel,
        "limits": row.limits,
        "keep": row.keep,
        "keep_days": row.keep_days,
        "stop_requested": row.stop_requested,
        "spec": row.spec and _submitted(row.spec),
        "created_at": rfc3339(row.created_at),
    }


def _submitted(spec: dict[str, Any]) -> dict[str, Any]:
    """As it was submitted: sent again with its seed it makes the same sets in the same order."""
    order = spec.get("parameter_order", [])
    shown = {name: value for name, value in spec.items() if name != "parameter_order"}
    return shown | {"parameters": {name: spec["parameters"][name] for name in order}} if order else shown


def as_cancelled(resource: dict[str, Any]) -> dict[str, Any]:
    """The same with the state that its stop request leads to, should that not have been derived yet."""
    state = derive(resource["counts"], resource["stop_requested"])
    return resource | {"state": state, "phase": phase(state)}
