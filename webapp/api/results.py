"""/simulations/{id}/results: one row for each instance, to compute with."""

from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote

from flask import Response
from pydantic import Field

from webapp import results
from webapp.api.resource import PROBLEM, Resource
from webapp.api.schemas.base import Id, Query
from webapp.api.schemas.instances import Results
from webapp.api.simulations import no_simulation
from webapp.auth.permissions import caller, needs
from webapp.parts import parts
from webapp.queries import results as queries

api = Resource("results", "Submissions: a template, the space of its parameters, and how it went", tag="simulations")

CSV = "text/csv; charset=utf-8; header=present"


class ResultsQuery(Query):
    """In which form."""

    format: Literal["json", "csv"] = Field("json", description="one object, or a table for spreadsheets")


@api.get("/simulations/<uuid:id>/results", responses={200: Results, 404: PROBLEM})
@needs("viewer")
def stream_results(path: Id, query: ResultsQuery) -> Response:
    """What came of every instance, by index, as far as it has come.

    As CSV each parameter and metric is a column of its own."""
    database = parts().connections.database
    with database.single() as tx:
        found = queries.head(tx, path.id, caller().viewer)
    if found is None:
        raise no_simulation(path.id)
    if query.format == "json":
        return _streamed(results.as_json(database, found), "application/json")
    response = _streamed(results.as_csv(database, found), CSV)
    name = quote(f"{found.name}_results.csv", safe="")
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    return response


def _streamed(pieces: Iterator[str], kind: str) -> Response:
    return Response(pieces, content_type=kind, headers={"X-Accel-Buffering": "no"})
