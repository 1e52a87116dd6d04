"""What lifecycle is asked for: a submission to write, a move to carry out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.domain.specs import Program
from shared.domain.states import Kind, State


@dataclass(frozen=True)
class Submission:
    """What submit() writes. `sets`: one (parameters, seed) for each instance, in the order of their index."""

    id: UUID
    name: str
    owner: UUID
    visibility: str
    labels: dict[str, str]
    template: str
    template_version: int
    spec: dict[str, Any]
    program: Program
    seed: int
    priority: int
    max_parallel: int | None
    sets: Sequence[tuple[dict[str, Any], int]]
    keep: str = "all"  # whose recordings: 'all', 'failed' or 'none'
    keep_days: int | None = None  # after its end; None is for ever


@dataclass(frozen=True)
class NewJob:
    """A job that belongs to no simulation, on one bundle."""

    id: UUID
    kind: Kind
    owner: UUID
    bundle: UUID
    program: Program
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """A wish to move a job, void unless it still is in `old` with this attempt."""

    job: UUID
    attempt: int
    old: State
    new: State
    outcome: str | None = None
    message: str | None = None
    exit_code: int | None = None
    counted: bool = True  # whether the attempt counts toward retry.max_attempts
    ungated: bool = False  # void once the attempt has passed its gate
    image_digest: str | None = None  # of what its main container runs, once that is seen
