"""/bundles/{id}/messages and /slice: any moment of a recording, without the rest of it."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

from flask import Response
from pydantic import Field, StringConstraints

from shared.domain.errors import NotFound
from webapp import excerpts
from webapp.api.resource import PROBLEM, Resource
from webapp.api.schemas.base import Id, Query
from webapp.auth.permissions import caller, needs
from webapp.parts import parts
from webapp.queries import bundles

api = Resource("excerpts", "Verified recordings", tag="bundles")

Time = Annotated[str, StringConstraints(max_length=40)] | None
LINES: dict[Any, Any] = {200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}}
FILE: dict[Any, Any] = {200: {"content": {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "application/x-tar": {"schema": {"type": "string", "format": "binary"}}}}}


class ExcerptQuery(Query):
    """Which part: start <= t < end."""

    start: Time = Field(None, examples=["+10"])
    """ns since 1970, or +seconds from the bundle's start; from there when left out."""
    end: Time = Field(None, examples=["+12.5"])
    """The first moment that is left out, in the same forms; to the bundle's end when left out."""
    topics: Annotated[str, StringConstraints(min_length=1, max_length=8_000)] | None = Field(
        None, examples=["/scan,/odom"])
    """Only these, separated by commas; all when left out."""

    def wanted(self) -> excerpts.Wanted:
        """For excerpts."""
        return excerpts.Wanted(self.start, self.end, self.topics)


class SliceQuery(ExcerptQuery):
    """Which part, and in which form."""

    format: Literal["mcap", "db3"] = Field("mcap", description="one .mcap, or a tar of a rosbag2 folder")


@api.get("/bundles/<uuid:id>/messages", responses=LINES | {404: PROBLEM, 409: PROBLEM})
@needs("viewer")
def stream_messages(path: Id, query: ExcerptQuery) -> Response:
    """Messages in the order of their times, one JSON object a line.

    Byte arrays are base64; what cannot be decoded has `data` null and its bytes as `raw`."""
    _, pieces = _read(path.id, query, "messages")
    return _streamed(pieces, "application/x-ndjson")


@api.get("/bundles/<uuid:id>/slice", responses=FILE | {404: PROBLEM, 409: PROBLEM})
@needs("viewer")
def download_slice(path: Id, query: SliceQuery) -> Response:
    """A small recording of its own: what was latched before, then the messages of the time."""
    name, pieces = _read(path.id, query, query.format)
    ending, kind = (".mcap", "application/octet-stream") if query.format == "mcap" else (".tar", "application/x-tar")
    response = _streamed(pieces, kind)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name + '_slice' + ending, safe='')}"
    return response


def _read(bundle: UUID, query: ExcerptQuery, form: str) -> tuple[str, Iterator[bytes]]:
    with parts().connections.database.single() as tx:
        found = bundles.source(tx, bundle, caller().viewer)
    if found is None:
        raise NotFound(f"there is no bundle {bundle}")
    asked = excerpts.question(found, query.wanted(), parts().connections.store, form)
    return asked["name"], excerpts.ask(parts().settings, asked)


def _streamed(pieces: Iterator[bytes], kind: str) -> Response:
    response = Response(pieces, mimetype=kind, headers={"X-Accel-Buffering": "no"})
    response.call_on_close(pieces.close)  # type: ignore[attr-defined]
    return response
