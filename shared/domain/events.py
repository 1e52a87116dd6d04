"""The wire form of an event: what Redis subscribers and SSE clients receive."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shared.domain.states import State, phase


@dataclass(frozen=True)
class Event:
    """One transition, or (with number None) the last word on a job's progress."""

    number: int | None
    simulation: UUID | None
    job: UUID | None
    kind: str | None
    state: State
    reason: str | None
    at: datetime
    attempt: int | None
    progress: dict[str, Any] | None = None

    def wire(self) -> dict[str, Any]:
        """The contract's fields, ready for JSON."""
        return {
            "number": self.number,
            "simulation": self.simulation and str(self.simulation),
            "job": self.job and str(self.job),
            "kind": self.kind,
            "state": self.state,
            "phase": phase(self.state),
            "reason": self.reason,
            "at": rfc3339(self.at),
            "attempt": self.attempt,
            "progress": self.progress,
        }


def rfc3339(at: datetime) -> str:
    """An aware time as RFC 3339 in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
