"""Templates, submissions and programs: their fields, their defaults, and what makes them invalid. The API parses them,
the database keeps them as JSON, workers read the Program."""

import signal
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shared.domain.errors import FieldError
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


def _tuple_from_json(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _name_a_program(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value[0]:
        raise ValueError("the first word is the program and may not be empty")
    return value


Command = Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256), BeforeValidator(_tuple_from_json),
                    AfterValidator(_name_a_program)]


class Misfit(ValueError):
    """Fields that do not go together; `errors` names those to change, seen from the model that finds it."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{each.field} {each.message}" for each in errors))
        self.errors = errors


def keep_one_example(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Have each field of a JSON Schema say its first example by `example`, for flask-openapi3 drops `examples`; and the
    whole say the model's own EXAMPLE, where those of its fields do not go together."""
    for each in schema.get("properties", {}).values():
        if "examples" in each:
            each["example"] = each.pop("examples")[0]
    if "EXAMPLE" in vars(model):
        schema["example"] = vars(model)["EXAMPLE"]


class Spec(BaseModel):
    """Frozen, strict, and without room for fields nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True,
                              json_schema_extra=keep_one_example)


class Resources(Spec):
    """What a simulator may use. Memory and disk are limits, not reservations."""

    cpu: Annotated[float, Field(gt=0, le=1024, allow_inf_nan=False)] | None = Field(None, examples=[2.0])
    """Cores; null: not limited."""
    memory_mb: Annotated[int, Field(gt=0)] | None = Field(None, examples=[512])
    """MiB; past it the program is ended (oom_killed); null: EXECUTION_MEMORY_LIMIT_MB for a command."""
    gpu: Annotated[int, Field(ge=0)] = Field(0, examples=[0])
    """Whole GPUs."""
    gpu_type: Text | None = Field(None, examples=["nvidia-l4"])
    """Which kind of GPU; null: any."""
    shm_mb: Annotated[int, Field(gt=0)] | None = Field(None, examples=[64])
    """MiB of shared memory; null: what the runtime gives."""
    disk_mb: Annotated[int, Field(gt=0)] | None = Field(None, examples=[10240])
    """MiB that it may write; null: not limited."""


class Limits(Spec):
    """How long each part of a life may take, in seconds; null is no limit."""

    queue_seconds: Seconds | None = Field(None, examples=[3600.0])
    """Seconds it may wait for a slot; null: for ever."""
    start_seconds: Seconds = Field(900, examples=[900.0])
    """Seconds from its slot until it runs."""
    run_seconds: Seconds | None = Field(None, examples=[600.0])
    """Seconds it may run; null: EXECUTION_TIMEOUT_SECONDS for a command."""
    stall_seconds: Seconds | None = Field(None, examples=[60.0])
    """Seconds without a line of progress after which it is stopped; null: no limit."""
    collect_seconds: Seconds = Field(3600, examples=[3600.0])
    """Seconds that collecting what it recorded may take."""


class LimitOverrides(Spec):
    """The limits a submission may state in place of its template's."""

    queue_seconds: Seconds | None = Field(None, examples=[3600.0])
    """Seconds an instance may wait for a slot; null: the template's."""
    start_seconds: Seconds | None = Field(None, examples=[900.0])
    """Seconds from its slot until it runs; null: the template's."""
    run_seconds: Seconds | None = Field(None, examples=[60.0])
    """Seconds it may run; null: the template's."""
    stall_seconds: Seconds | None = Field(None, examples=[60.0])
    """Seconds without a line of progress after which it is stopped; null: the template's."""
    collect_seconds: Seconds | None = Field(None, examples=[3600.0])
    """Seconds that collecting may take; null: the template's."""


class Stop(Spec):
    """How a program is asked to end: the signal, the grace before SIGKILL, and after how long that is a success."""

    after_seconds: Seconds | None = Field(None, examples=[120.0])
    """Seconds after which stopping it is a success, for simulators that never end; null: never."""
    signal: Literal["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] = "SIGINT"
    """What asks the program to end."""
    grace_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(30, examples=[30.0])
    """Seconds from that signal to SIGKILL."""

    def number(self) -> int:
        """The signal's number on this machine."""
        return signal.Signals[self.signal].value


class Record(Spec):
    """Whether an instance that records nothing has failed."""

    required: bool = True
    """Whether an instance that ends well without a recording has failed (no_recording)."""


_REASONS = {str(reason): reason for reason in Reason}  # every look at a job reads its program, with all of these


class Retry(Spec):
    """How often, and for which reasons, an instance is tried again by itself."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = Field(3, examples=[3])
    """How many attempts there are at most, the first one included."""
    on: tuple[Reason, ...] = Field(RETRIABLE, examples=[["evicted", "vanished"]])
    """The reasons for which it is tried again by itself."""

    @field_validator("on", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return tuple(_REASONS.get(item, item) if isinstance(item, str) else item for item in value)


class Container(Spec):
    """One more container beside the main one; for runtimes that run images."""

    name: Name = Field(examples=["bridge"])
    """Unique among the template's containers."""
    image: Text = Field(examples=["ghcr.io/us/robot:1.4"])
    """The container image that it runs."""
    command: tuple[Argument, ...] | None = Field(None, examples=[["python3", "drive.py"]])
    """The program and its arguments; null: what the image says."""
    env: Environment = Field({}, examples=[{"LOG": "debug"}])
    """Environment variables; those that begin with SIMYARD_ are ours."""
    resources: Resources = Resources()
    """What it may use."""

    @field_validator("command", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class TemplateSpec(Spec):
    """A recipe of a simulator, immutable once it has a version."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "thrower", "description": "throws a ball", "command": ["python3", "throw.py"],
        "parameters": {"type": "object", "additionalProperties": False, "properties": {
            "speed": {"type": "number", "minimum": 1, "maximum": 50, "default": 10, "description": "m/s"}}},
        "resources": {"memory_mb": 256}, "limits": {"run_seconds": 60}, "record": {"required": False}}

    name: Name = Field(examples=["diffdrive"])
    """Unique; small letters, digits, `.`, `_` and `-`, at most 63."""
    description: Text = Field("", examples=["a robot with two wheels"])
    """What it simulates, for people."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(None,
        examples=["ghcr.io/us/robot:1.4"])
    """A container image; null where a command runs on the machine itself."""
    command: Command | None = Field(None,
        examples=[["python3", "drive.py"]])
    """The program and its arguments; null: what the image says."""
    containers: Annotated[tuple[Container, ...], Field(max_length=20)] = ()
    """More containers beside the main one; for runtimes that run images."""
    parameters: dict[str, Any] = Field({},
        examples=[{"type": "object", "properties": {"max_speed": {"type": "number", "default": 0.5,
            "description": "m/s"}}}])
    """A JSON Schema (2020-12) of the parameters, with defaults; empty takes any."""
    env: Environment = Field({}, examples=[{"LOG": "debug"}])
    """Environment variables; those that begin with SIMYARD_ are ours."""
    resources: Resources = Resources()
    """What it may use."""
    limits: Limits = Limits()
    """How long each part of an instance's life may take."""
    stop: Stop = Stop()
    """How it is asked to end."""
    record: Record = Record()
    """What it has to record."""
    retry: Retry = Retry()
    """When it is tried again by itself."""
    node_selector: dict[str, Text] = Field({}, examples=[{"disk": "ssd"}])
    """Labels of the machines it may run on; for clusters."""
    tolerations: tuple[dict[str, Any], ...] = Field((), examples=[[{"key": "gpu", "operator": "Exists"}]])
    """Kubernetes tolerations; for clusters."""
    pull_secret: Name | None = Field(None, examples=["registry"])
    """The secret that lets the cluster pull the image; null: none needed."""
    writable_root: bool = False
    """Whether the container may write outside its output folder."""
    network: Literal["none", "cluster", "internet"] = "none"
    """What it may reach."""

    @field_validator("containers", "tolerations", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("env")
    @classmethod
    def _leaves_ours_alone(cls, value: dict[str, str]) -> dict[str, str]:
        return refuse_reserved(value)

    @model_validator(mode="after")
    def _runs_something(self) -> Self:
        if self.image is None and self.command is None:
            raise Misfit(FieldError("command", "is required where there is no image"))
        limits = {"limits.run_seconds": self.limits.run_seconds, "resources.memory_mb": self.resources.memory_mb}
        if self.image is not None and None in limits.values():
            raise Misfit(*(FieldError(field, "is required where there is an image")
                           for field, stated in limits.items() if stated is None))
        return self


class SimulationSpec(Spec):
    """A submission: a template, the space of its parameters, and how to run it."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "template": "diffdrive@1", "name": "night run", "labels": {"pr": "12"},
        "parameters": {"max_speed": {"grid": [0.4, 0.8]}, "obstacles": {"range": [2, 8, 2]},
                       "friction": {"uniform": [0.5, 1.0]}, "world": "warehouse"},
        "repeats": 2, "seed": 7, "limits": {"run_seconds": 60}}

    template: Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,63}(@[1-9][0-9]{0,8})?$")] = Field(
        examples=["diffdrive@1"])
    """name, the newest version, or name@version."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] | None = Field(None,
        examples=["night run"])
    """What people call it; null: the template's name."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(None,
        examples=["ghcr.io/us/robot:pr-12"])
    """In place of the template's main image; null: that one."""
    labels: Labels = Field({}, examples=[{"pr": "12"}])
    """Words to find it by, each with a value."""
    parameters: dict[str, Any] = Field({}, examples=[{"max_speed": {"grid": [0.4, 0.8]}, "world": "warehouse"}])
    """By name a value, or a form: grid, range, uniform, log_uniform, normal, value."""
    method: Literal["grid", "list", "random", "latin_hypercube"] = "grid"
    """How points are made of the parameters."""
    points: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = Field(None,
        examples=[[{"max_speed": 0.4}, {"max_speed": 0.8}]])
    """With method list: the points, each laid over `parameters`; null with the others."""
    samples: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(None, validate_default=True, examples=[100])
    """With random and latin_hypercube: how many points; null with the others."""
    repeats: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1, examples=[2])
    """How often each point runs, each time with another SIMYARD_SEED."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(None, examples=[7])
    """What all chance of it is drawn from; null: drawn and answered."""
    priority: Literal["low", "normal", "high"] = "normal"
    """What waits with a higher one starts first."""
    max_parallel: Annotated[int, Field(ge=1)] | None = Field(None, examples=[10])
    """How many of its instances run at once at most; null: as many as there are slots."""
    limits: LimitOverrides = LimitOverrides()
    """Limits in place of the template's."""
    env: Environment = Field({}, examples=[{"LOG": "debug"}])
    """Environment variables; those that begin with SIMYARD_ are ours."""
    inputs: Annotated[list[Annotated[UUID, Field(strict=False)]], Field(max_length=MOST_INPUTS)] = Field([],
        examples=[["5d7a8c1e-3f2b-4e7b-9c55-0a1d2f3e4b5c"]])
    """Bundles that each instance finds below SIMYARD_INPUTS."""
    keep: Literal["all", "failed", "none"] = "all"
    """Whose recordings are kept: all, those of instances that did not succeed or did not pass, or none."""
    keep_days: KeepDays | None = Field(None, examples=[30])
    """Days after its end until it is deleted with all below it; null: never."""
    visibility: Literal["team", "private"] = "team"
    """team: every user may read it; private: its owner and admins alone."""

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
            raise Misfit(FieldError("points", "goes with method list, which needs it"))
        return self


class Program(Spec):
    """What each attempt of a simulation runs: the template with the submission's overrides and every limit stated.
    `run_seconds_stated`: whether one of the two says how long it may run, or it is EXECUTION_TIMEOUT_SECONDS that does.
    `inputs`: the bundles that it is brought before it starts. A process has a command; a container has an image, and
    without a command does what that says, which is in `image_commands`, by image, where web could look."""

    command: tuple[str, ...] = ()
    image: str | None = None
    image_commands: dict[str, Command] = {}
    containers: tuple[Container, ...] = ()
    inputs: tuple[Annotated[UUID, Field(strict=False)], ...] = ()
    env: dict[str, str] = {}
    resources: Resources = Resources()
    limits: Limits = Limits()
    run_seconds_stated: bool = True
    stop: Stop = Stop()
    record: Record = Record()
    retry: Retry = Retry()
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    pull_secret: str | None = None
    writable_root: bool = False
    network: Literal["none", "cluster", "internet"] = "none"

    @field_validator("command", "inputs", "containers", "tolerations", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


def refuse_reserved(env: dict[str, str]) -> dict[str, str]:
    """`env` as it is; ValueError when it sets a variable that we set."""
    for name in env:
        if name.startswith(RESERVED_VARIABLES):
            raise ValueError(f"{name} is set by Simyard and cannot be stated")
    return env
