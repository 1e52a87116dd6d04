"""Starts the program of an admitted job, through the gate that lets each attempt start once. Called by tasks.launch."""

import hashlib
import logging
import secrets
import sys
from uuid import UUID

from shared.domain.errors import InvalidSpec, Refused, Unavailable
from shared.domain.moves import Move
from shared.domain.specs import Program
from shared.domain.states import Kind, Reason, State
from shared.persistence.queries import JobRow, job_by_id
from workers.doors import Doors
from workers.runtimes.base import Launch, Name, Run

log = logging.getLogger(__name__)

OURS = {Kind.INGEST: "workers.ingester", Kind.PLAYBACK: "workers.player"}  # what runs for jobs that have no simulator


def launch(doors: Doors, job: UUID) -> None:
    """Make the attempt ready, pass its gate, say go. Whoever comes second finds it there or the gate closed."""
    with doors.connections.database.single() as tx:
        row = job_by_id(tx, job)
    if row is None or row.state != State.STARTING or row.gate_passed_at is not None:
        return
    run = run_of(row)
    ready = doors.runtime.start(run)
    if ready is None:
        return
    try:
        if doors.connections.lifecycle.pass_gate(
                job, row.attempt, host=doors.runtime.host, boot=doors.runtime.boot, token_hash=hash_of(run.token)):
            _go(doors, row, ready)
        else:
            log.info("the gate of %s is closed", run.name)
    finally:
        ready.abandon()


def _go(doors: Doors, row: JobRow, ready: Launch) -> None:
    """Let it run; what its runtime will not have ends at once, in the runtime's words."""
    try:
        ready.go()
    except Refused as refusal:
        reason = Reason.INVALID_SPEC if isinstance(refusal, InvalidSpec) else Reason.RUNTIME_ERROR
        doors.connections.lifecycle.transition_many(
            [Move(row.id, row.attempt, State.STARTING, State.COLLECTING, reason, refusal.detail)], actor="worker")
    except Unavailable as failure:  # the watcher queues it anew when nothing can come of it any more
        doors.connections.lifecycle.put_off(row.id, row.attempt, f"its start is put off: {failure}")
        raise


def run_of(row: JobRow) -> Run:
    """What a runtime needs to know of the row's present attempt, with a new token for its recorder."""
    program = Program.model_validate(row.program)
    if row.kind in OURS:
        program = program.model_copy(update={"command": (sys.executable, "-P", "-m", OURS[row.kind])})
    return Run(Name(row.id, row.attempt), row.kind, program, row.parameters, row.seed, secrets.token_urlsafe(32),
               row.simulation)


def hash_of(token: str) -> str:
    """How tokens are kept: sha256, hex. They are random and long, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()
