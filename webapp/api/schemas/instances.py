"""Instances and their logs."""

from typing import Annotated, Any
from uuid import UUID

from flask_openapi3.models.data_type import DataType
from flask_openapi3.models.media_type import MediaType
from flask_openapi3.models.schema import Schema
from pydantic import AwareDatetime, ConfigDict, Field

from shared.domain.specs import Limits
from shared.domain.states import Reason, State
from webapp.api.schemas.base import DIGEST, Output, PageQuery, Path, Query
from webapp.api.schemas.simulations import Phase


class InstanceQuery(PageQuery):
    """Which of a simulation's instances."""

    state: list[State] = Field([], description="any of these")


class LogQuery(Query):
    """Which log, and how much of it."""

    attempt: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(None, description="the newest if not stated",
        examples=[2])
    tail: Annotated[int, Field(ge=0, le=100_000)] | None = Field(None, description="the last so many lines",
        examples=[200])
    follow: bool = Field(False, description="go on with what is written until the attempt has ended")


class FileQuery(Query):
    """Of which attempt."""

    attempt: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(None, description="the newest if not stated",
        examples=[1])


class InstanceFilePath(Path):
    """The path of a file; its name may have slashes."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    name: str = Field(examples=["maps/map.png"])
    """Its path below SIMYARD_OUTPUT."""


class InstanceFile(Output):
    """A file that is no recording."""

    name: str = Field(examples=["map.png"])
    """Its path below SIMYARD_OUTPUT."""
    size: int = Field(examples=[1048576])
    """Bytes."""
    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    """Of its content, in hex."""
    attempt: int = Field(examples=[1])
    """Which try this is, from 1."""


class InstanceFileList(Output):
    """All files of one attempt, by name."""

    items: list[InstanceFile]
    """All of them."""
    next: str | None = Field(examples=[None])
    """Always null: there is one page."""


class ProgressReport(Output):
    """The last the instance said of how far it is."""

    percent: float | None = Field(examples=[40.0])
    """How far it is, of 100; null when it did not say."""
    sim_time: float | None = Field(examples=[12.3])
    """Seconds of simulated time; null when it did not say."""
    message: str | None = Field(examples=["driving to goal 3"])
    """What it is doing; null when it did not say."""


class Transition(Output):
    """One move of its life."""

    number: int = Field(examples=[4711])
    """The event's number, dense in the whole installation."""
    from_: State | None = Field(alias="from")
    """The state before."""
    to: State
    """The state after."""
    reason: Reason | None
    """Why it did not end well; null while it has not ended, and when it did."""
    at: AwareDatetime = Field(examples=["2026-11-25T12:00:02Z"])
    """When."""
    attempt: int | None = Field(examples=[1])
    """Which try this is, from 1."""


class ListedInstance(Output):
    """One run of a simulator, as lists show it."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    simulation: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The submission that it belongs to."""
    index: int = Field(examples=[0])
    """Its place in the sweep, from 0."""
    state: State
    """Where it is in its life."""
    phase: Phase
    """The same in three words: waiting (QUEUED), running (STARTING to COLLECTING), completed."""
    attempt: int = Field(examples=[1])
    """Which try this is, from 1."""
    reason: Reason | None
    """Why it did not end well; null while it has not ended, and when it did."""
    message: str | None = Field(examples=["exit code 2"])
    """What more there is to say in words; null when nothing."""
    exit_code: int | None = Field(examples=[0])
    """Of the program; negative: the signal that ended it; null while it runs and when nobody knows."""
    image_digest: str | None = Field(examples=[DIGEST])
    """Of the image that its newest attempt runs, as the node tells it; null before that, and without an image."""
    passed: bool | None
    """The simulator's own verdict; null when it gave none."""
    metrics: dict[str, float] | None = Field(examples=[{"path_length": 12.5}])
    """Numbers that the simulator measured; null when it told none."""
    parameters: dict[str, Any] = Field(examples=[{"max_speed": 0.4, "obstacles": 4}])
    """By name, with the template's defaults."""
    seed: int = Field(examples=[77])
    """SIMYARD_SEED: distinct for each instance."""
    limits: Limits
    """How long each part of its life may take."""
    progress: ProgressReport | None
    """The last it said of how far it is; null when it said nothing."""
    created_at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was made."""
    started_at: AwareDatetime | None = Field(examples=["2026-11-25T12:00:02Z"])
    """When its program was first seen running; null before."""
    ended_at: AwareDatetime | None = Field(examples=["2026-11-25T12:01:10Z"])
    """When it ended; null before."""
    bundles: list[UUID] = Field(examples=[["5d7a8c1e-3f2b-4e7b-9c55-0a1d2f3e4b5c"]])
    """The recordings that it made."""


class Instance(ListedInstance):
    """The same with its history and the last 100 lines of its log."""

    transitions: list[Transition]
    """Its history, oldest first."""
    log_tail: str = Field(examples=["goal 3 reached\n"])
    """The last 100 lines that the newest attempt wrote."""


class InstanceList(Output):
    """Instances; those of one simulation by index, others newest first."""

    items: list[ListedInstance]
    """The page's items."""
    next: str | None = Field(examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])
    """The cursor of the next page; null on the last one."""


class Result(Output):
    """What came of one instance."""

    index: int = Field(examples=[0])
    """Its place in the sweep, from 0."""
    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    state: State
    """Where it is in its life."""
    reason: Reason | None
    """Why it did not end well; null while it has not ended, and when it did."""
    passed: bool | None
    """The simulator's own verdict; null when it gave none."""
    attempt: int = Field(examples=[1])
    """Which try this is, from 1."""
    exit_code: int | None = Field(examples=[0])
    """Of the program; negative: the signal that ended it; null while it runs and when nobody knows."""
    seed: int = Field(examples=[77])
    """SIMYARD_SEED: distinct for each instance."""
    parameters: dict[str, Any] = Field(examples=[{"max_speed": 0.4, "obstacles": 4}])
    """By name, with the template's defaults."""
    metrics: dict[str, float] | None = Field(examples=[{"path_length": 12.5}])
    """Numbers that the simulator measured; null when it told none."""
    started_at: AwareDatetime | None = Field(examples=["2026-11-25T12:00:02Z"])
    """When its program was first seen running; null before."""
    ended_at: AwareDatetime | None = Field(examples=["2026-11-25T12:01:10Z"])
    """When it ended; null before."""
    duration_seconds: float | None = Field(examples=[68.2])
    """Seconds from started_at to ended_at; null when one of them is."""
    bundles: list[UUID] = Field(examples=[["5d7a8c1e-3f2b-4e7b-9c55-0a1d2f3e4b5c"]])
    """The recordings that it made."""


class Results(Output):
    """What came of all instances of a simulation, by index; or the same as text/csv."""

    model_config = ConfigDict(  # type: ignore[typeddict-unknown-key]  # flask-openapi3 reads it
        openapi_extra={"content": {"text/csv": MediaType(schema=Schema(type=DataType.STRING))}})

    simulation: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """Whose results they are."""
    items: list[Result]
    """A row for each instance, by index."""
