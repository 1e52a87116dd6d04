"""Instances and their logs."""

from typing import Annotated, Any
from uuid import UUID

from flask_openapi3.models.data_type import DataType
from flask_openapi3.models.media_type import MediaType
from flask_openapi3.models.schema import Schema
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.domain.specs import Limits
from shared.domain.states import Reason, State
from webapp.api.schemas.base import Output, PageQuery, Query
from webapp.api.schemas.simulations import Phase


class InstanceQuery(PageQuery):
    """Which of a simulation's instances."""

    state: list[State] = Field([], description="any of these")


class LogQuery(Query):
    """Which log, and how much of it."""

    attempt: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(None, description="the newest if not stated")
    tail: Annotated[int, Field(ge=0, le=100_000)] | None = Field(None, description="the last so many lines")
    follow: bool = Field(False, description="go on with what is written until the attempt has ended")


class FileQuery(Query):
    """Of which attempt."""

    attempt: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(None, description="the newest if not stated")


class InstanceFilePath(BaseModel):
    """The path of a file; its name may have slashes."""

    id: UUID
    name: str


class InstanceFile(Output):
    """A file that is no recording."""

    name: str
    size: int
    sha256: str
    attempt: int


class InstanceFileList(Output):
    """All files of one attempt, by name."""

    items: list[InstanceFile]
    next: str | None


class ProgressReport(Output):
    """The last the instance said of how far it is."""

    percent: float | None
    sim_time: float | None
    message: str | None


class Transition(Output):
    """One move of its life."""

    number: int
    from_: State | None = Field(alias="from")
    to: State
    reason: Reason | None
    at: AwareDatetime
    attempt: int | None


class ListedInstance(Output):
    """One run of a simulator, as lists show it."""

    id: UUID
    simulation: UUID
    index: int
    state: State
    phase: Phase
    attempt: int
    reason: Reason | None
    message: str | None
    exit_code: int | None
    passed: bool | None
    metrics: dict[str, float] | None
    parameters: dict[str, Any]
    seed: int
    limits: Limits
    progress: ProgressReport | None
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    bundles: list[UUID]


class Instance(ListedInstance):
    """The same with its history and the last 100 lines of its log."""

    transitions: list[Transition]
    log_tail: str


class InstanceList(Output):
    """Instances; those of one simulation by index, others newest first."""

    items: list[ListedInstance]
    next: str | None


class Result(Output):
    """What came of one instance."""

    index: int
    id: UUID
    state: State
    reason: Reason | None
    passed: bool | None
    attempt: int
    exit_code: int | None
    seed: int
    parameters: dict[str, Any]
    metrics: dict[str, float] | None
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    duration_seconds: float | None
    bundles: list[UUID]


class Results(Output):
    """What came of all instances of a simulation, by index; or the same as text/csv."""

    model_config = ConfigDict(  # type: ignore[typeddict-unknown-key]  # flask-openapi3 reads it
        openapi_extra={"content": {"text/csv": MediaType(schema=Schema(type=DataType.STRING))}})

    simulation: UUID
    items: list[Result]
