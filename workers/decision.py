"""What follows from a job and what is seen of it: one pure table. The watcher asks; lifecycle or a task carries out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shared.domain.moves import Move
from shared.domain.specs import Program
from shared.domain.states import SUCCESS, Reason, State
from workers.runtimes.base import Observation, Seen

# Seconds after which what keeps a program from starting is held to be final; the rest may pass, up to the start limit.
PATIENCE = {Reason.IMAGE_PULL: 120.0, Reason.RUNTIME_ERROR: 120.0}
NOT_STATED = (", the operator's EXECUTION_TIMEOUT_SECONDS; state limits.run_seconds in the template or the submission")
CODES = {126: ": the command is no program that can be run", 127: ": the command was not found; the log has its name"}
SIGNAL_BASE = 128  # a shell reports a program killed by signal n as 128 + n


@dataclass(frozen=True)
class Job:
    """What decide() needs of a live job's row; every time is the database's."""

    id: UUID
    attempt: int
    state: State
    program: Program
    gate_passed_at: datetime | None
    now: datetime
    state_since: datetime
    due_at: datetime | None
    started_at: datetime | None
    progress_at: datetime | None

    @property
    def gate_passed(self) -> bool:
        """Whether its attempt may have been started."""
        return self.gate_passed_at is not None

    @property
    def overdue(self) -> bool:
        """Whether its task was sent so long ago that it may be lost."""
        return self.due_at is not None and self.now >= self.due_at

    def lasts(self, seconds: float | None, since: datetime | None = None) -> bool:
        """Whether a limit of that many seconds (None: no limit) has run out."""
        return seconds is not None and (self.now - (since or self.state_since)).total_seconds() >= seconds

    def move(self, new: State, outcome: str | None = None, message: str | None = None, *,
             exit_code: int | None = None, counted: bool = True, ungated: bool = False,
             image_digest: str | None = None) -> Move:
        """A move of this job from where it is."""
        return Move(self.id, self.attempt, self.state, new, outcome, message, exit_code, counted, ungated, image_digest)


@dataclass(frozen=True)
class Ring:
    """Send the state's task again."""

    job: UUID
    state: State


Decision = Move | Ring | None


def _launch_again(job: Job, seen: Observation) -> Decision:
    if job.gate_passed:
        if not job.lasts(seen.may_appear, job.gate_passed_at):
            return None
        if seen.never_started:  # whoever passed the gate died before saying go: nothing ran, so nothing is counted
            return job.move(State.QUEUED, counted=False)
        return _vanished(job, seen)
    if job.lasts(job.program.limits.start_seconds):
        return job.move(State.FAILED, Reason.START_TIMEOUT,
                        f"it could not be started within {job.program.limits.start_seconds:g} s", ungated=True)
    return _ring_when_overdue(job, seen)


def _still_starting(job: Job, seen: Observation) -> Decision:
    limit = job.program.limits.start_seconds
    if job.gate_passed and job.lasts(limit):
        return job.move(State.STOPPING, seen.reason or Reason.START_TIMEOUT,
                        "; ".join(filter(None, [f"it did not start within {limit:g} s", seen.message])))
    if job.gate_passed and seen.reason in PATIENCE and job.lasts(PATIENCE[seen.reason], job.gate_passed_at):
        return job.move(State.STOPPING, seen.reason, seen.message)
    return None


def _started(job: Job, seen: Observation) -> Decision:
    return job.move(State.RUNNING, image_digest=seen.image_digest)


def _hold_to_limits(job: Job, seen: Observation) -> Decision:
    limits, stop = job.program.limits, job.program.stop
    ran = job.started_at or job.state_since
    enough = job.lasts(stop.after_seconds, ran)
    if enough and (limits.run_seconds is None or (stop.after_seconds or 0) <= limits.run_seconds):
        return job.move(State.STOPPING, SUCCESS)
    if job.lasts(limits.run_seconds, ran):
        return job.move(State.STOPPING, Reason.RUN_TIMEOUT, f"it ran longer than {limits.run_seconds:g} s"
                        + ("" if job.program.run_seconds_stated else NOT_STATED))
    idle = seen.progress_age is None or seen.progress_age >= (limits.stall_seconds or 0)
    if idle and job.lasts(limits.stall_seconds, max(ran, job.progress_at or ran)):
        return job.move(State.STOPPING, Reason.STALLED, f"no progress for {limits.stall_seconds:g} s")
    return None


def _ended(job: Job, seen: Observation) -> Decision:
    outcome, message = judge(seen)
    return job.move(State.COLLECTING, outcome, message, exit_code=seen.exit_code, image_digest=seen.image_digest)


def _vanished(job: Job, seen: Observation) -> Decision:
    return job.move(State.COLLECTING, Reason.VANISHED, "its process is gone and left no exit status")


def _collect_anyway(job: Job, seen: Observation) -> Decision:
    return job.move(State.COLLECTING, exit_code=seen.exit_code, image_digest=seen.image_digest)


def _ring_when_overdue(job: Job, seen: Observation) -> Decision:
    return Ring(job.id, job.state) if job.overdue else None


def _wait(job: Job, seen: Observation) -> Decision:
    return None


TABLE: Mapping[State, Mapping[Seen, Callable[[Job, Observation], Decision]]] = {
    State.STARTING: {
        Seen.UNKNOWN: _wait, Seen.ABSENT: _launch_again, Seen.STARTING: _still_starting,
        Seen.RUNNING: _started, Seen.ENDED: _ended},
    State.RUNNING: {
        Seen.UNKNOWN: _wait, Seen.ABSENT: _vanished, Seen.STARTING: _wait,
        Seen.RUNNING: _hold_to_limits, Seen.ENDED: _ended},
    State.STOPPING: {
        Seen.UNKNOWN: _wait, Seen.ABSENT: _collect_anyway, Seen.STARTING: _ring_when_overdue,
        Seen.RUNNING: _ring_when_overdue, Seen.ENDED: _collect_anyway},
    State.COLLECTING: dict.fromkeys(Seen, _ring_when_overdue),
}


def decide(job: Job, seen: Observation) -> Decision:
    """What is to be done about a live job of which this is seen."""
    return TABLE[job.state][seen.seen](job, seen)


def judge(seen: Observation) -> tuple[str, str | None]:
    """The outcome of a program that ended by itself or by a limit, and what to tell people."""
    if seen.reason is not None:
        return seen.reason, seen.message
    code = seen.exit_code or 0
    if code == 0:
        return SUCCESS, None
    if code > SIGNAL_BASE:
        return Reason.CRASHED, f"it was ended by signal {code - SIGNAL_BASE}"
    return Reason.CRASHED, f"it exited with code {code}{CODES.get(code, '')}"


class Disposal(StrEnum):
    """What to do about something a runtime has that no live job stands behind."""

    KEEP = "keep"
    KILL = "kill"
    REMOVE = "remove"
    QUARANTINE = "quarantine"


def dispose(state: State | None, *, is_current: bool, kept: bool, seen: Observation) -> Disposal:
    """`state` of the job it is named after (None: no such job), `is_current` whether it is its newest attempt, `kept`
    whether it holds the only copy of something."""
    if state is None:
        return Disposal.QUARANTINE
    if is_current and state in TABLE:
        return Disposal.KEEP
    if seen.seen in (Seen.STARTING, Seen.RUNNING):
        return Disposal.KILL
    return Disposal.KEEP if kept else Disposal.REMOVE
