"""Signals the program of a stopping job: its own signal within the grace, SIGKILL past it. Called by tasks.stop."""

import signal
from datetime import timedelta
from uuid import UUID

from shared.domain.specs import Program
from shared.domain.states import State
from shared.persistence.queries import job_by_id, postpone
from workers.doors import Doors
from workers.runtimes.base import Name, Seen


def stop(doors: Doors, job: UUID) -> None:
    """Signal it once; the sweep comes back when the grace is over, or sooner when that is long."""
    with doors.connections.database.transaction() as tx:
        row = job_by_id(tx, job)
        if row is None or row.state != State.STOPPING:
            return
    policy = Program.model_validate(row.program).stop
    left = timedelta(seconds=policy.grace_seconds) - (row.now - row.state_since)
    if left <= timedelta():
        name = Name(job, row.attempt)
        if doors.runtime.observe(name).seen == Seen.STARTING:  # its inputs are on their way still
            doors.runtime.kill(name)
        else:
            doors.runtime.stop(name, signal.SIGKILL)
    elif doors.runtime.stop(Name(job, row.attempt), policy.number()):
        with doors.connections.database.transaction() as tx:
            postpone(tx, [job], left)
