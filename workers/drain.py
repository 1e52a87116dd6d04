"""What a clean stop of one machine's stack runs: `python -m workers.drain`. Closes admission, gives every attempt here
the outcome preempted, sends its stop signal, and leaves nothing running; the next start collects and tries again."""

import logging
import signal
import time

from shared import logs
from shared.domain.errors import Unavailable
from shared.domain.moves import Move
from shared.domain.specs import Program
from shared.domain.states import Reason, State
from shared.persistence.queries import JobRow, live_jobs
from shared.settings import WorkerSettings, read
from workers.doors import Doors, open_doors
from workers.runtimes.base import Name, Seen

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
LOOK_SECONDS = 0.1


def drain(doors: Doors, grace_seconds: float = GRACE_SECONDS) -> None:
    """Returns when nothing of ours runs on this machine any more."""
    doors.connections.lifecycle.set_admission(is_open=False)
    deadline = time.monotonic() + grace_seconds
    while (running := _preempt(doors)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    for name in doors.runtime.names():
        doors.runtime.kill(name)
    if running:
        log.warning("%d programs did not heed their stop signal", len(running))


def _preempt(doors: Doors) -> list[Name]:
    """Preempt what was not yet, signal it once; the programs that still run."""
    with doors.connections.database.transaction() as tx:
        rows = [row for row in live_jobs(tx) if row.host in (None, doors.runtime.host)]
    moved = doors.connections.lifecycle.transition_many(
        [move for row in rows if (move := _order(row)) is not None], actor="supervisor")
    stopping = {move.job for move in moved if move.new == State.STOPPING}
    running = []
    for row in rows:
        name = Name(row.id, row.attempt)
        if row.id in stopping:
            doors.runtime.stop(name, Program.model_validate(row.program).stop.number())
        if doors.runtime.observe(name).seen in (Seen.STARTING, Seen.RUNNING):
            running.append(name)
    return running


def _order(row: JobRow) -> Move | None:
    """What becomes of a live job: back to the queue when nothing was started, else stopped, unless it is already."""
    state = State(row.state)
    if state == State.STARTING and row.gate_passed_at is None:
        return Move(row.id, row.attempt, state, State.QUEUED, counted=False, ungated=True)
    if state in (State.STARTING, State.RUNNING):
        return Move(row.id, row.attempt, state, State.STOPPING, Reason.PREEMPTED, "the stack was stopped")
    return None


def main() -> None:
    """Exit code 1 when the database does not answer: programs are ended all the same."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor, who has us do this
    settings = read(WorkerSettings)
    logs.configure(settings.log_level)
    doors = open_doors(settings, application="drain")
    try:
        drain(doors)
    except Unavailable as error:
        log.error("nothing could be recorded: %s", error)
        for name in doors.runtime.names():
            doors.runtime.kill(name)
        raise SystemExit(1) from error
    finally:
        doors.connections.close()


if __name__ == "__main__":
    main()
