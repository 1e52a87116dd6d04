"""What all shapes share: the bases of inputs and answers, and the query of lists."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from webapp.queries.paging import DEFAULT_LIMIT, MAX_LIMIT, Page


class Input(BaseModel):
    """A body: strict, and without room for fields nobody knows."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """Query parameters, which arrive as text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Output(BaseModel):
    """An answer; complete."""

    model_config = ConfigDict(extra="forbid")


class Id(BaseModel):
    """The path of one resource."""

    id: UUID


class PageQuery(Query):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = Field(
        None, description="`next` of the page before")

    def page(self) -> Page:
        """For queries."""
        return Page(self.limit, self.cursor)


class FieldProblem(Output):
    """What is wrong with one field."""

    field: str = Field(examples=["parameters.max_speed"])
    message: str


class Problem(Output):
    """Why a request was not carried out (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="for programs to switch on")
    detail: str
    retryable: bool = Field(description="whether the same request may succeed later")
    remedy: str | None
    errors: list[FieldProblem]
