"""/instances: single runs of a simulator."""

from typing import Any
from uuid import UUID

from flask import Response

from shared.domain.errors import NotFound
from shared.storage import keys
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.base import Id
from webapp.api.schemas.instances import FileQuery, Instance, InstanceFileList, InstanceFilePath, InstanceList
from webapp.api.schemas.simulations import SimulationQuery
from webapp.auth.permissions import caller, needs
from webapp.parts import parts
from webapp.queries import attempts
from webapp.queries import instances as queries

api = Resource("instances", "Single runs of a simulator", scope="simulations")


@api.get("/instances", responses={200: InstanceList})
@needs("viewer")
def list_instances(query: SimulationQuery) -> Response:
    """Instances, newest first. `state` is theirs, the other filters are their simulation's."""
    with parts().connections.database.single() as tx:
        items, following = queries.page(tx, caller().viewer, query.filter(), query.page())
    return answer({"items": items, "next": following})


@api.get("/instances/<uuid:id>", responses={200: Instance, 404: PROBLEM})
@needs("viewer")
def show_instance(path: Id) -> Response:
    """One instance, with its history and the end of its log."""
    return answer(_find(path.id))


@api.post("/instances/<uuid:id>/cancel", responses={202: Instance, 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def cancel_instance(path: Id) -> Response:
    """Cancel it. Asking again changes nothing."""
    with parts().connections.database.single() as tx:
        row = queries.owner(tx, path.id, caller().viewer)
    if row is None:
        raise no_instance(path.id)
    caller().must_own(row.owner, f"instance {path.id}")
    parts().connections.lifecycle.cancel_job(path.id, actor=caller().actor)
    return answer(_find(path.id), 202)


@api.get("/instances/<uuid:id>/files", responses={200: InstanceFileList, 404: PROBLEM})
@needs("viewer")
def list_files(path: Id, query: FileQuery) -> Response:
    """The files that an attempt left besides recordings."""
    return answer({"items": _files(path.id, query.attempt), "next": None})


@api.get("/instances/<uuid:id>/files/<path:name>", responses={302: None, 404: PROBLEM})
@needs("viewer")
def download_instance_file(path: InstanceFilePath, query: FileQuery) -> Response:
    """One of them, as a redirect to a URL that lives a quarter of an hour."""
    for file in _files(path.id, query.attempt):
        if file["name"] == path.name:
            key = keys.recorded_file(path.id, file["attempt"], path.name)
            url = parts().connections.store.download_url(key, path.name.rpartition("/")[2])
            return Response(status=302, headers={"Location": url})
    raise NotFound(f"instance {path.id} left no file {path.name}")


def _files(instance: UUID, attempt: int | None) -> list[dict[str, Any]]:
    with parts().connections.database.single() as tx:
        row = queries.owner(tx, instance, caller().viewer)
        if row is None:
            raise no_instance(instance)
        number = attempt or row.attempt
        found = attempts.files(tx, instance, number)
    if found is None and number != row.attempt:
        raise NotFound(f"instance {instance} has no attempt {number}")
    return [{"name": file["path"], "size": file["size"], "sha256": file["sha256"], "attempt": number}
            for file in sorted(found or (), key=lambda file: str(file["path"]))]


def no_instance(instance: UUID) -> NotFound:
    """It is missing, or not the caller's to see: nobody can tell which."""
    return NotFound(f"there is no instance {instance}")


def _find(instance: UUID) -> dict[str, Any]:
    with parts().connections.database.single() as tx:
        found = queries.find(tx, instance, caller().viewer)
    if found is None:
        raise no_instance(instance)
    return found
