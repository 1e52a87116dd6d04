"""/bundles: what was recorded."""

from flask import Response

from shared.domain.errors import NotFound
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.base import Id
from webapp.api.schemas.bundles import Bundle, BundleFilePath, BundleList, BundleQuery
from webapp.auth.permissions import caller, needs
from webapp.parts import parts
from webapp.queries import bundles as queries

api = Resource("bundles", "Verified recordings")


@api.get("/bundles", responses={200: BundleList})
@needs("viewer")
def list_bundles(query: BundleQuery) -> Response:
    """Bundles, newest first."""
    with parts().connections.database.single() as tx:
        items, following = queries.page(tx, caller().viewer, query.filter(), query.page())
    return answer({"items": items, "next": following})


@api.get("/bundles/<uuid:id>", responses={200: Bundle, 404: PROBLEM})
@needs("viewer")
def show_bundle(path: Id) -> Response:
    """A bundle's facts: files, topics, times, problems and certificate."""
    with parts().connections.database.single() as tx:
        found = queries.find(tx, path.id, caller().viewer)
    if found is None:
        raise NotFound(f"there is no bundle {path.id}")
    return answer(found)


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
