"""The contract that every runtime keeps, and the words it speaks. Everything is named by (job, attempt) and may be
asked twice: what was done already is found done."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from shared.domain.errors import Unavailable
from shared.domain.specs import Program
from shared.domain.states import Reason

_NAME = re.compile(r"sim-([0-9a-f]{32})-a([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Name:
    """The name of all things of an attempt: its pod or its folder."""

    job: UUID
    attempt: int

    def __str__(self) -> str:
        return f"sim-{self.job.hex}-a{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> "Name | None":
        """The name that `text` spells, None when it is not one of ours."""
        match = _NAME.fullmatch(text)
        return match and cls(UUID(hex=match[1]), int(match[2]))


@dataclass(frozen=True)
class Run:
    """What start() needs to know of an attempt. `token` lets its recorder speak for it, and for nothing else.
    `simulation` is None where it is a job by itself."""

    name: Name
    kind: str
    program: Program
    parameters: dict[str, Any]
    seed: int
    token: str
    simulation: UUID | None = None


class Seen(StrEnum):
    """What a runtime sees of an attempt."""

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"  # another host, or the runtime does not answer


class Recorder(StrEnum):
    """What has become of the attempt's recorder."""

    WORKING = "working"
    DONE = "done"
    DEAD = "dead"
    LOST = "lost"  # its machine is not heard of: it may work still, or come back


@dataclass(frozen=True)
class Observation:
    """One look at an attempt. exit_code, reason and message are those of an ended program."""

    seen: Seen
    exit_code: int | None = None
    reason: Reason | None = None  # what ended it, or what keeps it from starting
    message: str | None = None
    recorder: Recorder = Recorder.DEAD
    never_started: bool = False  # it waited for its go, which never came
    may_appear: float = 0  # seconds from its gate on in which it may still appear, though it is absent now
    image_digest: str | None = None  # of what its main container runs, where that is a container
    progress_age: float | None = None  # seconds since its last line of progress, by the clock of its machine


class NotMade(Unavailable):
    """The place would not start it now, and nothing of it is on its way."""


class Launch(Protocol):
    """A program that stands ready behind the gate."""

    def go(self) -> None:
        """Let it run. Raises NotMade, Unavailable when that is not known, and Refused for what is never to be."""

    def abandon(self) -> None:
        """Let it end without ever having run. After go() it changes nothing."""


class Runtime(Protocol):
    """Starts, stops and observes the programs of one place. Raises Unavailable when the place does not answer. `keeps`:
    whether what an attempt wrote outlives its end, and can be salvaged."""

    host: str
    boot: str
    keeps: bool

    def start(self, run: Run) -> Launch | None:
        """Make the attempt ready behind its gate; None when it is there already, waiting, running or ended."""

    def observe(self, name: Name) -> Observation:
        """Look at it now; a strong read."""

    def stop(self, name: Name, signal_number: int) -> bool:
        """Signal the program's process group, and what else runs beside it; False when there is none, or not yet."""

    def kill(self, name: Name) -> None:
        """End everything of this attempt at once: the program, what it left behind, and its recorder."""

    def salvage(self, run: Run) -> bool:
        """Start a recorder on what an attempt left behind; False when nothing is left to read."""

    def remove(self, name: Name) -> None:
        """Forget an attempt that has ended: nothing of it remains."""

    def quarantine(self, name: Name) -> None:
        """Put aside what no row knows, so that it is reported and never deleted."""

    def names(self) -> Iterable[Name]:
        """Everything of ours that is there."""

    def hints(self, timeout_seconds: float) -> set[Name]:
        """Attempts that may have changed, as soon as there are any; empty after the timeout."""

    def close(self) -> None:
        """Listen for no more hints."""
