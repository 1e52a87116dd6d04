"""The facts of a recording as they travel: the shape of the child's JSON. Built by facts.py, checked by cage.py."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workers.bags.problems import Problem
from workers.bags.recordings import Role
from workers.bags.scan import Gap

State = Literal["READY", "DAMAGED", "REJECTED"]
Reason = Literal["not_a_recording", "hostile"]
Storage = Literal["sqlite3", "mcap", "rosbag1", "mixed"]


@dataclass(frozen=True)
class File:
    """A member file as it lies there."""

    name: str
    size: int
    role: Role


@dataclass(frozen=True)
class Topic:
    """Times are int64 ns and null without messages; frequency_hz is null when the messages span no time."""

    name: str
    type: str
    count: int
    frequency_hz: float | None
    first_ns: int | None
    last_ns: int | None
    decodable: bool


@dataclass(frozen=True)
class Loss:
    """Messages of one topic; `lost` is null when nothing tells how many there were."""

    recovered: int
    lost: int | None


@dataclass(frozen=True)
class Extent:
    """How much there is, as claimed or as found."""

    messages: int | None
    start_ns: int | None
    end_ns: int | None
    topics: int
    files: int


@dataclass(frozen=True)
class Comparison:
    """What metadata.yaml claims (null without a readable one) beside what was found."""

    claimed: Extent | None
    found: Extent


@dataclass(frozen=True)
class Certificate:
    """What is missing from a DAMAGED recording. At most GAPS gaps are listed, `bytes_skipped` counts all."""

    recovered: int
    lost: int | None
    by_topic: dict[str, Loss]
    gaps: list[Gap]
    clock_regressions: int
    bytes_skipped: int
    metadata: Comparison


@dataclass(frozen=True)
class Facts:
    """What was really read, never what metadata.yaml claims. Topics by name, files in the order of their splits."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    state: State
    reason: Reason | None
    storage: Storage | None
    files: list[File]
    topics: list[Topic]
    messages: int
    start_ns: int | None
    end_ns: int | None
    duration_seconds: float
    problems: list[Problem]
    certificate: Certificate | None
    # A metadata.yaml for a folder that needs one.
    rebuilt: str | None
