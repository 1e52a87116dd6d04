"""Simulations: what is asked for is shared.domain.specs.SimulationSpec; here is what is answered."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from shared.domain.specs import Limits
from shared.domain.states import State
from webapp.api.schemas.base import DIGEST, FieldProblem, Input, Output, PageQuery, Query
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
    template: Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,63}(@[1-9][0-9]{0,8})?$")] | None = Field(None,
        examples=["diffdrive@1"])
    """A template, in any version or in that one."""
    owner: UUID | None = Field(None, examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """Only those of this user."""
    label: list[LabelFilter] = Field([], description="key:value; all of these",
        examples=[["pr:12"]])
    name: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="a part of the simulation's name", examples=["night"])

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

    used: int = Field(examples=[4])
    """How many are taken."""
    total: int = Field(examples=[4])
    """How many there are."""


class Queue(Output):
    """What waits of a simulation, and why."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    queued: int = Field(examples=[6])
    """Its instances that wait."""
    running: int = Field(examples=[4])
    """Its instances that hold a slot."""
    position: int | None = Field(description="how many of all that wait start before its next one, and that one; "
                                             "null when nothing of it waits", examples=[3])
    held_by: list[str] = Field(description="what keeps its next one waiting, in words; empty when it is about to start",
                               examples=[["your limit: 4 of 4 running"]])
    slots: Slots
    """The places of the whole deployment, and how many are taken."""


class TemplateReference(Output):
    """The version a simulation is pinned to."""

    name: str = Field(examples=["diffdrive"])
    """The template's name."""
    version: int = Field(examples=[1])
    """Its version."""


class Links(Output):
    """Where to go on from here."""

    self: str = Field(examples=["/api/v1/simulations/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The simulation."""
    status: str = Field(examples=["/api/v1/simulations/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c/status"])
    """The summary to poll."""
    instances: str = Field(examples=["/api/v1/simulations/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c/instances"])
    """Its instances, page by page."""
    results: str = Field(examples=["/api/v1/simulations/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c/results"])
    """Every instance as a row."""
    events: str = Field(examples=["/api/v1/simulations/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c/events"])
    """Its life as it happens."""
    queue: str = Field(examples=["/api/v1/simulations/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c/queue"])
    """What waits of it, and why."""


class Accepted(Output):
    """A simulation as it begins."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    name: str = Field(examples=["night run"])
    """What people call it; it need not be unique."""
    state: State
    """Where it is in its life."""
    phase: Phase
    """The same in three words: waiting (QUEUED), running (STARTING to COLLECTING), completed."""
    template: TemplateReference
    """The version it is pinned to."""
    seed: int = Field(examples=[7])
    """What chance is drawn from, 0 to 2^31 - 1."""
    total: int = Field(examples=[16])
    """How many instances there are."""
    limits: Limits
    """How long each part of an instance's life may take: stated, or the operator's."""
    links: Links
    """Addresses of what belongs to it."""


class SubmitQuery(Query):
    """Whether to submit in earnest."""

    dry_run: bool = Field(False, description="say what would come of it, and write nothing")


class Point(Output):
    """What one instance would run with."""

    index: int = Field(examples=[0])
    """Its place in the sweep, from 0."""
    parameters: dict[str, Any] = Field(examples=[{"max_speed": 0.4}])
    """Of this instance, with the template's defaults."""
    seed: int = Field(examples=[77])
    """SIMYARD_SEED of this instance."""


class Refusal(FieldProblem):
    """One reason why a submission would be refused."""

    code: str = Field(description="of the refusal, for programs to switch on", examples=["invalid_spec"])
    remedy: str | None = Field(examples=["GET the template to see its parameters and their bounds"])
    """What to do about it; null when there is nothing to say."""


class DryRun(Output):
    """What would come of a submission."""

    dry_run: Literal[True]
    """Always true."""
    accepted: bool
    """Whether it would be taken."""
    total: int | None = Field(description="how many instances; null when that cannot be known", examples=[16])
    seed: int = Field(examples=[7])
    """What chance is drawn from, 0 to 2^31 - 1."""
    points: list[Point] = Field(description="of the first 20 instances")
    limits: Limits | None
    """How long each part of an instance's life may take; null when there is no such template."""
    refused: list[Refusal] = Field(description="every reason why it would be refused")
    warnings: list[FieldProblem] = Field(description="what would be taken, but may not be what is meant")


class Verdicts(Output):
    """How many instances showed what."""

    passed: int = Field(examples=[12])
    """How many ended with passed true."""
    not_passed: int = Field(examples=[3])
    """How many ended with passed false."""
    none: int = Field(examples=[1])
    """How many have not ended, or gave no verdict."""


class Status(Output):
    """The summary to poll; it comes with an ETag."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    state: State
    """Where it is in its life."""
    phase: Phase
    """The same in three words: waiting (QUEUED), running (STARTING to COLLECTING), completed."""
    total: int = Field(examples=[16])
    """How many instances there are."""
    counts: dict[State, int] = Field(examples=[{
        "QUEUED": 4, "STARTING": 0, "RUNNING": 2, "STOPPING": 0, "COLLECTING": 0,
        "SUCCEEDED": 9, "FAILED": 1, "CANCELLED": 0}])
    """How many instances are in each of the eight states, zeros too."""
    verdicts: Verdicts
    """How many instances passed, did not, or gave no verdict."""
    percent: float = Field(examples=[62.5])
    """How many have ended, of 100."""
    updated_at: AwareDatetime = Field(examples=["2026-11-25T12:03:20Z"])
    """When anything of this last changed."""


class Simulation(Status):
    """A submission and how far it is."""

    name: str = Field(examples=["night run"])
    """What people call it; it need not be unique."""
    owner: UUID | None = Field(examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """The user who made it; null once that user is deleted."""
    visibility: Literal["team", "private"]
    """team: every user may read it; private: its owner and admins alone."""
    labels: dict[str, str] = Field(examples=[{"pr": "12"}])
    """Words to find it by, each with a value."""
    template: TemplateReference
    """The version it is pinned to."""
    image_digest: str | None = Field(examples=[DIGEST])
    """Of the image that every attempt is to run; null without an image, and where tags are not resolved."""
    seed: int = Field(examples=[7])
    """What chance is drawn from, 0 to 2^31 - 1."""
    priority: Literal["low", "normal", "high"]
    """What waits with a higher one starts first."""
    max_parallel: int | None = Field(examples=[10])
    """How many run at once at most; null: as many as there are slots."""
    limits: Limits
    """How long each part of an instance's life may take: stated, or the operator's."""
    keep: Literal["all", "failed", "none"]
    """Whose recordings are kept: all, those of instances that did not succeed or did not pass, or none."""
    keep_days: int | None = Field(examples=[30])
    """Days after its end until it is deleted with all below it; null: never."""
    stop_requested: bool
    """Whether somebody has cancelled it."""
    spec: dict[str, Any] | None = Field(description="the submission with its seed and version pinned; "
                                                    "null in lists when it is very large",
        examples=[{"template": "diffdrive@1", "seed": 7}])
    created_at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was made."""
    links: Links
    """Addresses of what belongs to it."""


class SimulationList(Output):
    """Simulations, newest first."""

    items: list[Simulation]
    """The page's items."""
    next: str | None = Field(examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])
    """The cursor of the next page; null on the last one."""
