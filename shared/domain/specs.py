"""Templates, submissions and programs: their fields, their defaults, and what makes them invalid. The API parses them,
the database keeps them as JSON, workers read the Program."""

import signal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator, model_validator

from shared.domain.states import Reason

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
Text = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
Argument = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{1,63}$")]
Labels = Annotated[dict[Label, Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]],
                   Field(max_length=50)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
KeepDays = Annotated[int, Field(ge=1, le=36_500)]
MOST_INPUTS = 20
SAMPLING = ("random", "latin_hypercube")  # the methods that draw points
Environment = Annotated[dict[Variable, Argument], Field(max_length=100)]

RESERVED_VARIABLES = ("SIMYARD_", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")
RETRIABLE = (Reason.EVICTED, Reason.NODE_LOST, Reason.VANISHED, Reason.PREEMPTED, Reason.RUNTIME_ERROR,
             Reason.UPLOAD_FAILED)


class Spec(BaseModel):
    """Frozen, strict, and without room for fields nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resources(Spec):
    """What a simulator may use. Memory and disk are limits, not reservations."""

    cpu: Annotated[float, Field(gt=0, le=1024, allow_inf_nan=False)] | None = None
    memory_mb: Annotated[int, Field(gt=0)] | None = None
    gpu: Annotated[int, Field(ge=0)] = 0
    gpu_type: Text | None = None
    shm_mb: Annotated[int, Field(gt=0)] | None = None
    disk_mb: Annotated[int, Field(gt=0)] | None = None


class Limits(Spec):
    """How long each part of a life may take, in seconds; null is no limit."""

    queue_seconds: Seconds | None = None
    start_seconds: Seconds = 900
    run_seconds: Seconds | None = None
    stall_seconds: Seconds | None = None
    collect_seconds: Seconds = 3600


class LimitOverrides(Spec):
    """The limits a submission may state in place of its template's."""

    queue_seconds: Seconds | None = None
    start_seconds: Seconds | None = None
    run_seconds: Seconds | None = None
    stall_seconds: Seconds | None = None
    collect_seconds: Seconds | None = None


class Stop(Spec):
    """How a program is asked to end: the signal, the grace before SIGKILL, and after how long that is a success."""

    after_seconds: Seconds | None = None
    signal: Literal["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] = "SIGINT"
    grace_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 30

    def number(self) -> int:
        """The signal's number on this machine."""
        return signal.Signals[self.signal].value


class Record(Spec):
    """Whether an instance that records nothing has failed."""

    required: bool = True


class Retry(Spec):
    """How often, and for which reasons, an instance is tried again by itself."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    on: tuple[Reason, ...] = RETRIABLE

    @field_validator("on", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return tuple(Reason(item) if isinstance(item, str) and item in set(Reason) else item for item in value)


class Container(Spec):
    """One more container beside the main one; for runtimes that run images."""

    name: Name
    image: Text
    command: tuple[Argument, ...] | None = None
    env: Environment = {}
    resources: Resources = Resources()

    @field_validator("command", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class TemplateSpec(Spec):
    """A recipe of a simulator, immutable once it has a version."""

    name: Name
    description: Text = ""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256)] | None = None
    containers: tuple[Container, ...] = ()
    parameters: dict[str, Any] = {}
    env: Environment = {}
    resources: Resources = Resources()
    limits: Limits = Limits()
    stop: Stop = Stop()
    record: Record = Record()
    retry: Retry = Retry()
    node_selector: dict[str, Text] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    pull_secret: Name | None = None
    writable_root: bool = False
    network: Literal["none", "cluster", "internet"] = "none"

    @field_validator("command", "containers", "tolerations", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("command")
    @classmethod
    def _names_a_program(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not value[0]:
            raise ValueError("the first word is the program and may not be empty")
        return value

    @field_validator("env")
    @classmethod
    def _leaves_ours_alone(cls, value: dict[str, str]) -> dict[str, str]:
        return refuse_reserved(value)

    @model_validator(mode="after")
    def _runs_something(self) -> Self:
        if self.image is None and self.command is None:
            raise ValueError("a template needs an image or a command")
        if self.image is not None and (self.limits.run_seconds is None or self.resources.memory_mb is None):
            raise ValueError("a template with an image states limits.run_seconds and resources.memory_mb")
        return self


class SimulationSpec(Spec):
    """A submission: a template, the space of its parameters, and how to run it."""

    template: Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,63}(@[1-9][0-9]{0,8})?$")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] | None = None
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    labels: Labels = {}
    parameters: dict[str, Any] = {}
    method: Literal["grid", "list", "random", "latin_hypercube"] = "grid"
    points: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    samples: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(None, validate_default=True)
    repeats: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    max_parallel: Annotated[int, Field(ge=1)] | None = None
    limits: LimitOverrides = LimitOverrides()
    env: Environment = {}
    inputs: Annotated[list[Annotated[UUID, Field(strict=False)]], Field(max_length=MOST_INPUTS)] = []
    keep: Literal["all", "failed", "none"] = "all"
    keep_days: KeepDays | None = None
    visibility: Literal["team", "private"] = "team"

    @field_validator("env")
    @classmethod
    def _leaves_ours_alone(cls, value: dict[str, str]) -> dict[str, str]:
        return refuse_reserved(value)

    @field_validator("samples")
    @classmethod
    def _goes_with_what_samples(cls, value: int | None, others: ValidationInfo) -> int | None:
        if "method" in others.data and (others.data["method"] in SAMPLING) != (value is not None):
            raise ValueError(f"samples goes with method {' and '.join(SAMPLING)}, which need it")
        return value

    @model_validator(mode="after")
    def _states_points_for_a_list(self) -> Self:
        if (self.method == "list") != (self.points is not None):
            raise ValueError("points go with method list, and method list needs points")
        return self


class Program(Spec):
    """What each attempt of a simulation runs: the template with the submission's overrides and every limit stated.
    `inputs`: the bundles that it is brought before it starts."""

    command: tuple[str, ...]
    inputs: tuple[Annotated[UUID, Field(strict=False)], ...] = ()
    env: dict[str, str] = {}
    resources: Resources = Resources()
    limits: Limits = Limits()
    stop: Stop = Stop()
    record: Record = Record()
    retry: Retry = Retry()

    @field_validator("command", "inputs", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


def refuse_reserved(env: dict[str, str]) -> dict[str, str]:
    """`env` as it is; ValueError when it sets a variable that we set."""
    for name in env:
        if name.startswith(RESERVED_VARIABLES):
            raise ValueError(f"{name} is set by Simyard and cannot be stated")
    return env
