"""/bundles: what was recorded."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from flask import Response

from shared.domain.errors import NotFound
from shared.domain.states import BundleState
from webapp import uploads, writes
from webapp.api.headers import once
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.base import Id
from webapp.api.schemas.bundles import (
    Announcement,
    Bundle,
    BundleChange,
    BundleFilePath,
    BundleList,
    BundleQuery,
    Ingest,
    Ticket,
)
from webapp.auth.permissions import caller, needs
from webapp.idempotency import key_of_request
from webapp.parts import parts
from webapp.queries import bundles as queries
from webapp.queries.bundles import ANNOUNCED

api = Resource("bundles", "Verified recordings")


@api.get("/bundles", responses={200: BundleList})
@needs("viewer")
def list_bundles(query: BundleQuery) -> Response:
    """Bundles, newest first."""
    with parts().connections.database.single() as tx:
        items, following = queries.page(tx, caller().viewer, query.filter(), query.page())
    return answer({"items": [_shown(item) for item in items], "next": following})


@api.get("/bundles/<uuid:id>", responses={200: Bundle, 404: PROBLEM})
@needs("viewer")
def show_bundle(path: Id) -> Response:
    """A bundle's facts: files, topics, times, problems and certificate."""
    return answer(_find(path.id))


@api.patch("/bundles/<uuid:id>", responses={200: Bundle, 404: PROBLEM})
@needs("operator")
def change_bundle(path: Id, body: BundleChange) -> Response:
    """Change its labels, put it on hold or release it, say for how long it is kept."""
    _own(path.id)
    if stated := body.model_dump(include=body.model_fields_set):
        with parts().connections.database.transaction() as tx:
            writes.change_bundle(tx, path.id, stated)
    return answer(_find(path.id))


@api.delete("/bundles/<uuid:id>", responses={204: None, 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def delete_bundle(path: Id) -> Response:
    """Delete it, unless it is on hold or in use. Content that another bundle has too stays there."""
    _own(path.id)
    parts().connections.lifecycle.delete_bundle(path.id)
    return Response(status=204)


@api.post("/bundles", responses={201: once(Ticket), 200: once(Ticket), 429: PROBLEM})
@needs("operator")
def announce_bundle(body: Announcement) -> Response:
    """Begin to upload a recording: PUT each part to its URL, then complete.

    When a bundle that the caller may read has the very content already, that is the answer, and nothing is uploaded."""
    key = key_of_request(parts().settings, caller().id, body)
    status, made = uploads.begin(parts(), body, caller().id, caller().viewer, key)
    return answer(made, status, {"Location": f"{parts().settings.api_str}/bundles/{made['id']}"})


@api.get("/bundles/<uuid:id>/uploads", responses={200: Ticket, 404: PROBLEM})
@needs("operator")
def list_missing_parts(path: Id) -> Response:
    """The parts that are not there yet, with fresh URLs."""
    row = _own(path.id)
    return answer(uploads.missing(parts(), path.id, row.state))


@api.post("/bundles/<uuid:id>/complete", responses={202: Ingest, 200: Ingest, 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def complete_bundle(path: Id) -> Response:
    """All parts are there: put them together and look into the recording.

    Asking again says how far that is."""
    row = _own(path.id)
    begun = row.state == BundleState.UPLOADING and uploads.complete(parts(), path.id, row.owner or caller().id)
    with parts().connections.database.single() as tx:
        found = queries.ingest(tx, path.id)
    if found is None:  # deleted meanwhile
        raise no_bundle(path.id)
    return answer(found, 202 if begun else 200)


def no_bundle(bundle: UUID) -> NotFound:
    """It is missing, or not the caller's to see: nobody can tell which."""
    return NotFound(f"there is no bundle {bundle}")


def _find(bundle: UUID) -> dict[str, Any]:
    with parts().connections.database.single() as tx:
        found = queries.find(tx, bundle, caller().viewer)
    if found is None:
        raise no_bundle(bundle)
    return _shown(found)


def _shown(bundle: dict[str, Any]) -> dict[str, Any]:
    """With the address of each file that is there."""
    here = f"{parts().settings.api_str}/bundles/{bundle['id']}/files"
    return bundle | {"files": [file | {"url": None if file["role"] == ANNOUNCED else f"{here}/{quote(file['name'])}"}
                               for file in bundle["files"]]}


def _own(bundle: UUID) -> Any:
    """(owner, state) of the bundle: the caller's own, or any for an admin."""
    with parts().connections.database.single() as tx:
        row = queries.owner(tx, bundle, caller().viewer)
    if row is None:
        raise no_bundle(bundle)
    caller().must_own(row.owner, f"bundle {bundle}")
    return row


@api.get("/bundles/<uuid:id>/files/<name>", responses={302: None, 404: PROBLEM})
@needs("viewer")
def download_file(path: BundleFilePath) -> Response:
    """One of its files, byte for byte as recorded.

    It is a redirect to a URL that lives a quarter of an hour."""
    with parts().connections.database.single() as tx:
        key = queries.file_key(tx, path.id, path.name, caller().viewer)
    if key is None:
        raise NotFound(f"there is no file {path.name} in a bundle {path.id}")
    return Response(status=302, headers={"Location": parts().connections.store.download_url(key, path.name)})
