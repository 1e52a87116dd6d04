"""What all shapes share: the bases of inputs and answers, and the query of lists."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.domain.specs import keep_one_example
from webapp.queries.paging import DEFAULT_LIMIT, MAX_LIMIT, Page

DIGEST = f"sha256:{'3f2b8c1e' * 8}"  # for examples


class Input(BaseModel):
    """A body: strict, and without room for fields nobody knows."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True,
                              json_schema_extra=keep_one_example)


def without_defaults(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """The schema of a Change: what its fields are when they are not stated is for no client to fill in."""
    keep_one_example(schema, model)
    for each in schema.get("properties", {}).values():
        each.pop("default", None)


class Change(Input):
    """A body of which what is not stated stays as it is."""

    model_config = ConfigDict(json_schema_extra=without_defaults)


class Query(BaseModel):
    """Query parameters, which arrive as text."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True,
                              json_schema_extra=keep_one_example)


class Output(BaseModel):
    """An answer; complete."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, json_schema_extra=keep_one_example)


class Path(BaseModel):
    """The parts of a path, which the URL's converters have read."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=keep_one_example)


class Id(Path):
    """The path of one resource."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""


class PageQuery(Query):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = Field(DEFAULT_LIMIT, examples=[50])
    """How many items a page has at most."""
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = Field(
        None, description="`next` of the page before", examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])

    def page(self) -> Page:
        """For queries."""
        return Page(self.limit, self.cursor)


class FieldProblem(Output):
    """What is wrong with one field."""

    field: str = Field(examples=["parameters.max_speed"])
    """Which one, dotted."""
    message: str = Field(examples=["9 is greater than the maximum of 2"])
    """What is wrong with it."""


class Problem(Output):
    """Why a request was not carried out (RFC 9457)."""

    type: str = Field(examples=["urn:simyard:problem:invalid"])
    """The code as a URI."""
    title: str = Field(examples=["Unprocessable Entity"])
    """The status in words."""
    status: int = Field(examples=[422])
    """The HTTP status."""
    code: str = Field(description="for programs to switch on", examples=["invalid"])
    detail: str = Field(examples=["not valid: parameters.max_speed"])
    """What happened, for people."""
    retryable: bool = Field(description="whether the same request may succeed later")
    remedy: str | None = Field(examples=["GET the template to see its parameters and their bounds"])
    """What to do about it; null when there is nothing to say."""
    errors: list[FieldProblem]
    """Each field that is wrong."""
