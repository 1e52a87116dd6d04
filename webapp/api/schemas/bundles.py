"""Bundles: the facts of a recording."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from webapp.api.schemas.base import Output, PageQuery
from webapp.api.schemas.simulations import LabelFilter, labels_of
from webapp.queries.bundles import Filter

BundleState = Literal["READY", "DAMAGED", "REJECTED"]


class BundleFilePath(BaseModel):
    """The path of a bundle's file."""

    id: UUID
    name: str


class BundleQuery(PageQuery):
    """Which bundles."""

    state: list[BundleState] = Field([], description="any of these")
    owner: UUID | None = None
    label: list[LabelFilter] = Field([], description="key:value; all of these")
    name: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, description="a part of the name")

    def filter(self) -> Filter:
        """For queries."""
        return Filter(self.state, self.owner, labels_of(self.label), self.name)


class BundleFile(Output):
    """One file of it."""

    name: str
    size: int
    sha256: str
    role: str


class Topic(Output):
    """What was recorded under one name."""

    name: str
    type: str
    count: int
    frequency_hz: float | None
    first_ns: int | None
    last_ns: int | None
    decodable: bool


class Bundle(Output):
    """A verified recording."""

    id: UUID
    name: str
    owner: UUID | None
    visibility: Literal["team", "private"]
    labels: dict[str, str]
    instance: UUID | None
    attempt: int | None
    state: BundleState
    reason: str | None
    digest: str
    storage: str | None
    files: list[BundleFile]
    topics: list[Topic]
    messages: int
    start_ns: int | None
    end_ns: int | None
    duration_seconds: float | None
    problems: list[dict[str, Any]]
    certificate: dict[str, Any] | None
    created_at: AwareDatetime


class BundleList(Output):
    """Bundles, newest first."""

    items: list[Bundle]
    next: str | None
