"""The life of a job: its states, which moves are legal, and why a job ended. Everybody reads it, lifecycle moves."""

from collections.abc import Mapping
from enum import StrEnum

from shared.domain.errors import IllegalTransition


class State(StrEnum):
    """Where a job is in its life. A simulation's state is derived from its jobs' and uses the same words."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    COLLECTING = "COLLECTING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Kind(StrEnum):
    """What a job does. An instance belongs to a simulation; the others stand for themselves, on one bundle each."""

    INSTANCE = "instance"
    PLAYBACK = "playback"
    INGEST = "ingest"


class Reason(StrEnum):
    """Why a job did not end well; a closed set that clients may switch on."""

    INVALID_SPEC = "invalid_spec"
    QUOTA = "quota"
    QUEUE_TIMEOUT = "queue_timeout"
    IMAGE_PULL = "image_pull"
    UNSCHEDULABLE = "unschedulable"
    START_TIMEOUT = "start_timeout"
    RUN_TIMEOUT = "run_timeout"
    STALLED = "stalled"
    OOM_KILLED = "oom_killed"
    DISK_FULL = "disk_full"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    CRASHED = "crashed"
    VANISHED = "vanished"
    NO_RECORDING = "no_recording"
    UPLOAD_FAILED = "upload_failed"
    NOT_A_RECORDING = "not_a_recording"
    HOSTILE = "hostile"
    CANCELLED_BY_USER = "cancelled_by_user"
    RUNTIME_ERROR = "runtime_error"


class BundleState(StrEnum):
    """What has become of a recording."""

    UPLOADING = "UPLOADING"
    INGESTING = "INGESTING"
    READY = "READY"  # every byte was read
    DAMAGED = "DAMAGED"  # some of it cannot be read; what is whole can be
    REJECTED = "REJECTED"  # no recording, or made to harm
    FAILED = "FAILED"  # we could not find out


SUCCESS = "success"  # the one outcome that is no reason

# States that hold a slot, from admission until collecting is left.
LIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING, State.COLLECTING})
ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

# After how many seconds in a state its task is sent again; a message is a hint and may be lost.
OVERDUE_SECONDS: Mapping[State, float] = {State.STARTING: 5, State.STOPPING: 5, State.COLLECTING: 10}

MOVES: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.STARTING, State.CANCELLED, State.FAILED}),
    # Straight to an end, or back to the queue, only while the gate has not been passed or nothing was ever started.
    State.STARTING: frozenset(
        {State.RUNNING, State.STOPPING, State.COLLECTING, State.QUEUED, State.CANCELLED, State.FAILED}
    ),
    State.RUNNING: frozenset({State.STOPPING, State.COLLECTING}),
    State.STOPPING: frozenset({State.COLLECTING}),
    State.COLLECTING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.QUEUED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),  # by the user's own retry alone
    State.CANCELLED: frozenset({State.QUEUED}),
}

PHASES = {State.QUEUED: "waiting"} | dict.fromkeys(LIVE, "running") | dict.fromkeys(ENDED, "completed")


def phase(state: State) -> str:
    """waiting, running or completed: for clients that know only these three words."""
    return PHASES[state]


def check(old: State, new: State) -> None:
    """Raise IllegalTransition unless `old` -> `new` is a legal move."""
    if new not in MOVES[old]:
        raise IllegalTransition(f"a job cannot go from {old} to {new}")


def end_of(outcome: str) -> State:
    """The terminal state that an outcome (SUCCESS or a Reason) leads to."""
    if outcome == SUCCESS:
        return State.SUCCEEDED
    return State.CANCELLED if outcome == Reason.CANCELLED_BY_USER else State.FAILED


def derive(counts: Mapping[str, int], stop_requested: bool) -> State:
    """The state of a simulation whose jobs are in `counts` (state -> number of jobs)."""
    queued = counts.get(State.QUEUED, 0)
    live = sum(counts.get(state, 0) for state in LIVE)
    if queued or live:
        if stop_requested:
            return State.STOPPING
        return State.RUNNING if live or any(counts.get(state, 0) for state in ENDED) else State.QUEUED
    for state in (State.FAILED, State.CANCELLED):
        if counts.get(state, 0):
            return state
    return State.SUCCEEDED
