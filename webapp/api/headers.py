"""Headers of requests and answers, for the API's description. Routes name those of an answer beside its shape, unless
its status says them; what clients send to get one follows from that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask_openapi3.models.header import Header
from flask_openapi3.models.operation import Operation
from flask_openapi3.models.parameter import Parameter


@dataclass(frozen=True, eq=False)
class Told:
    """A header of an answer: whether it is always there, and what clients send that it answers to."""

    name: str
    description: str
    schema: Mapping[str, Any]
    always: bool = True
    sent: "Sent | None" = None


@dataclass(frozen=True, eq=False)
class Sent:
    """A header of a request."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Having:
    """An answer, as flask-openapi3 takes it, and its headers."""

    shape: Any
    headers: tuple[Told, ...]


LOCATION = Told("Location", "where it is to be found", {
    "type": "string", "format": "uri-reference", "example": "/api/v1/simulations/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"})
REPLAYED = Told("Idempotent-Replayed", "there when this answer was given before, to the same key", {
    "type": "string", "enum": ["true"]}, always=False, sent=Sent(
        "Idempotency-Key", "any printable ASCII, no space; sent again with the same body, within 24 hours, it makes "
        "nothing and gets the first answer",
        {"type": "string", "minLength": 1, "maxLength": 255, "example": "0f1e2d3c-night-run"}))
ETAG = Told("ETag", "changes whenever the answer does", {"type": "string", "example": '"4711"'}, sent=Sent(
    "If-None-Match", "the ETag of an answer that the client has", {"type": "string", "example": '"4711"'}))
RETRY_AFTER = Told("Retry-After", "seconds after which to come again", {"type": "integer", "example": 5})
BY_STATUS = {"302": (LOCATION,), "429": (RETRY_AFTER,), "503": (RETRY_AFTER,)}


def having(shape: Any, *headers: Told) -> Any:
    """For `responses`: the answer with these headers."""
    return Having(shape, headers)


def once(shape: Any) -> Any:
    """The same of something that was made by a request that may have an Idempotency-Key."""
    return having(shape, LOCATION, REPLAYED)


def describe(operation: Operation, responses: Mapping[Any, Any]) -> None:
    """Write the headers of `responses` into the description of their operation."""
    told = {str(status): each.headers for status, each in responses.items() if isinstance(each, Having)}
    for status, response in (operation.responses or {}).items():
        headers = told.get(status) or BY_STATUS.get(status, ())
        if headers:
            response.headers = {each.name: Header(description=each.description, required=each.always,
                                                  schema=each.schema) for each in headers}
    sent = dict.fromkeys(each.sent for headers in told.values() for each in headers if each.sent)
    if sent:
        operation.parameters = [*(operation.parameters or ()), *(Parameter(
            **{"name": each.name, "in": "header", "description": each.description, "schema": each.schema})
            for each in sent)]
