"""/simulations: submitting, watching and cancelling."""

from typing import Any
from uuid import UUID

from flask import Response, request

from shared.domain.errors import NotFound
from shared.domain.specs import SimulationSpec
from shared.domain.states import Kind
from webapp.api.headers import ETAG, having, once
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.base import Id
from webapp.api.schemas.instances import InstanceList, InstanceQuery
from webapp.api.schemas.simulations import (
    Accepted,
    DryRun,
    Queue,
    RetryOrder,
    Simulation,
    SimulationList,
    SimulationQuery,
    Status,
    SubmitQuery,
)
from webapp.auth.permissions import caller, needs
from webapp.idempotency import key_of_request
from webapp.parts import parts
from webapp.queries import instances as instance_queries
from webapp.queries import queue
from webapp.queries import simulations as queries
from webapp.submissions import links, submit, try_out

api = Resource("simulations", "Submissions: a template, the space of its parameters, and how it went")


@api.post("/simulations", responses={202: once(Accepted), 200: DryRun, 409: PROBLEM, 429: PROBLEM})
@needs("operator")
def submit_simulation(body: SimulationSpec, query: SubmitQuery) -> Response:
    """Submit a simulation: one instance for each set of parameters and repeat.

    With dry_run nothing is made and no Idempotency-Key used: the answer shows the instances, or all that is wrong."""
    key = key_of_request(parts().settings, caller().id, body)
    if query.dry_run:
        return answer(try_out(parts(), body, caller().id, caller().viewer))
    status, made = submit(parts(), body, caller().id, caller().viewer, key)
    return answer(made, status, {"Location": made["links"]["self"]})


@api.get("/simulations", responses={200: SimulationList})
@needs("viewer")
def list_simulations(query: SimulationQuery) -> Response:
    """Simulations, newest first."""
    with parts().connections.database.single() as tx:
        items, following = queries.page(tx, caller().viewer, query.filter(), query.page())
    return answer({"items": [_linked(item) for item in items], "next": following})


@api.get("/simulations/<uuid:id>", responses={200: Simulation, 404: PROBLEM})
@needs("viewer")
def show_simulation(path: Id) -> Response:
    """One simulation."""
    return answer(_linked(_find(path.id)))


@api.get("/simulations/<uuid:id>/status", responses={200: having(Status, ETAG), 304: having(None, ETAG), 404: PROBLEM})
@needs("viewer")
def show_status(path: Id) -> Response:
    """The summary to poll: state, counts and verdicts.

    With If-None-Match, 304 while nothing changed."""
    found = parts().statuses.find(path.id, caller().viewer)
    if found is None:
        raise no_simulation(path.id)
    etag = f'"{found.etag}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known = request.headers.get("If-None-Match")
    if known == etag or (known is not None and request.if_none_match.contains_weak(found.etag)):
        return Response(status=304, headers=headers)
    return Response(found.body, headers=headers, content_type="application/json")


@api.get("/simulations/<uuid:id>/instances", responses={200: InstanceList, 404: PROBLEM})
@needs("viewer")
def list_simulation_instances(path: Id, query: InstanceQuery) -> Response:
    """Its instances, by index."""
    with parts().connections.database.single() as tx:
        if queries.owner(tx, path.id, caller().viewer) is None:
            raise no_simulation(path.id)
        items, following = instance_queries.page_of_simulation(
            tx, path.id, caller().viewer, query.state, query.page())
    return answer({"items": items, "next": following})


@api.post("/simulations/<uuid:id>/cancel", responses={202: Simulation, 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def cancel_simulation(path: Id) -> Response:
    """Cancel every instance that has not ended. Asking again changes nothing."""
    _must_own(path.id)
    parts().connections.lifecycle.cancel_simulation(path.id, actor=caller().actor)
    return answer(_linked(queries.as_cancelled(_find(path.id))), 202)


@api.post("/simulations/<uuid:id>/retry", responses={202: Simulation, 404: PROBLEM, 409: PROBLEM, 429: PROBLEM})
@needs("operator")
def retry_simulation(path: Id, body: RetryOrder) -> Response:
    """Run instances that failed, or were cancelled, once more: each with its next attempt."""
    _must_own(path.id)
    parts().connections.lifecycle.retry(path.id, body.states(), actor=caller().actor)
    return answer(_linked(_find(path.id)), 202)


@api.get("/simulations/<uuid:id>/queue", responses={200: Queue, 404: PROBLEM})
@needs("viewer")
def show_queue(path: Id) -> Response:
    """Where its next instance stands among all that wait, and what holds it."""
    settings = parts().settings
    with parts().connections.database.snapshot() as tx:
        if queries.owner(tx, path.id, caller().viewer) is None:
            raise no_simulation(path.id)
        found = queue.read(tx, path.id, settings.slots[Kind.INSTANCE], settings.max_running_per_user, caller().id)
    return answer(found)


@api.delete("/simulations/<uuid:id>", responses={204: None, 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def delete_simulation(path: Id) -> Response:
    """Delete an ended simulation with its instances, their events, logs and files, and all bundles they recorded."""
    _must_own(path.id)
    parts().connections.lifecycle.delete_simulation(path.id)
    return Response(status=204)


def _must_own(simulation: UUID) -> None:
    with parts().connections.database.single() as tx:
        row = queries.owner(tx, simulation, caller().viewer)
    if row is None:
        raise no_simulation(simulation)
    caller().must_own(row.owner, f"simulation {simulation}")


def no_simulation(simulation: UUID) -> NotFound:
    """It is missing, or not the caller's to see: nobody can tell which."""
    return NotFound(f"there is no simulation {simulation}")


def _find(simulation: UUID) -> dict[str, Any]:
    with parts().connections.database.single() as tx:
        found = queries.find(tx, simulation, caller().viewer)
    if found is None:
        raise no_simulation(simulation)
    return found


def _linked(resource: dict[str, Any]) -> dict[str, Any]:
    return resource | {"links": links(parts().settings.api_str, resource["id"])}
