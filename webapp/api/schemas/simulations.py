"""Simulations: what is asked for is shared.domain.specs.SimulationSpec; here is what is answered."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from shared.domain.states import State
from webapp.api.schemas.base import FieldProblem, Input, Output, PageQuery, Query
from webapp.queries.simulations import Filter

Phase = Literal["waiting", "running", "completed"]


def _is_label(text: str) -> str:
    if not text.partition(":")[0] or ":" not in text:
        raise ValueError("is written key:value")
    return text


LabelFilter = Annotated[str, AfterValidator(_is_label)]


def labels_of(filters: list[str]) -> dict[str, str]:
    """key:value texts as a mapping."""
    return {name: value for name, _, value in (each.partition(":") for each in filters)}


class SimulationQuery(PageQuery):
    """Which simulations, or the instances of which."""

    state: list[State] = Field([], description="any of these")
    template: Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,63}(@[1-9][0-9]{0,8})?$")] | None = None
    owner: UUID | None = None
    label: list[LabelFilter] = Field([], description="key:value; all of these")
    name: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="a part of the simulation's name")

    def filter(self) -> Filter:
        """For queries."""
        return Filter(self.state, self.template, self.owner, labels_of(self.label), self.name)


class RetryOrder(Input):
    """Which instances are to run once more."""

    only: Literal["failed", "cancelled", "ended_badly"] = Field(
        "failed", description="ended_badly: those that failed and those that were cancelled")

    def states(self) -> frozenset[State]:
        """For lifecycle."""
        return {"failed": frozenset({State.FAILED}), "cancelled": frozenset({State.CANCELLED})}.get(
            self.only, frozenset({State.FAILED, State.CANCELLED}))


class Slots(Output):
    """Places for instances in the whole deployment."""

    used: int
    total: int


class Queue(Output):
    """What waits of a simulation, and why."""

    id: UUID
    queued: int
    running: int
    position: int | None = Field(description="how many of all that wait start before its next one, and that one; "
                                             "null when nothing of it waits")
    held_by: list[str] = Field(description="what keeps its next one waiting, in words; empty when it is about to start",
                               examples=[["your limit: 4 of 4 running"]])
    slots: Slots


class TemplateReference(Output):
    """The version a simulation is pinned to."""

    name: str
    version: int


class Links(Output):
    """Where to go on from here."""

    self: str
    status: str
    instances: str
    results: str
    events: str
    queue: str


class Accepted(Output):
    """A simulation as it begins."""

    id: UUID
    name: str
    state: State
    phase: Phase
    template: TemplateReference
    seed: int
    total: int
    links: Links


class SubmitQuery(Query):
    """Whether to submit in earnest."""

    dry_run: bool = Field(False, description="say what would come of it, and write nothing")


class Point(Output):
    """What one instance would run with."""

    index: int
    parameters: dict[str, Any]
    seed: int


class DryRun(Output):
    """What would come of a submission."""

    dry_run: Literal[True]
    accepted: bool
    total: int | None = Field(description="how many instances; null when that cannot be known")
    seed: int
    points: list[Point] = Field(description="of the first 20 instances")
    refused: list[FieldProblem] = Field(description="every reason why it would be refused")


class Verdicts(Output):
    """How many instances showed what."""

    passed: int
    not_passed: int
    none: int


class Status(Output):
    """The summary to poll; it comes with an ETag."""

    id: UUID
    state: State
    phase: Phase
    total: int
    counts: dict[State, int]
    verdicts: Verdicts
    percent: float
    updated_at: AwareDatetime


class Simulation(Status):
    """A submission and how far it is."""

    name: str
    owner: UUID | None
    visibility: Literal["team", "private"]
    labels: dict[str, str]
    template: TemplateReference
    seed: int
    priority: Literal["low", "normal", "high"]
    max_parallel: int | None
    keep: Literal["all", "failed", "none"] = Field(description="whose recordings are kept")
    keep_days: int | None = Field(description="after its end it is deleted; null is never")
    stop_requested: bool
    spec: dict[str, Any] | None = Field(description="the submission with its seed and version pinned; "
                                                    "null in lists when it is very large")
    created_at: AwareDatetime
    links: Links


class SimulationList(Output):
    """Simulations, newest first."""

    items: list[Simulation]
    next: str | None
