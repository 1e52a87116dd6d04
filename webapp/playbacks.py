"""What POST /playbacks does: a job on a bundle, whose program is the player."""

from uuid import UUID, uuid4

from shared.domain.moves import NewJob
from shared.domain.specs import Limits, Program, Record, Resources, Retry, Stop
from shared.domain.states import Kind, Reason, State
from webapp.api.schemas.playbacks import NewPlayback
from webapp.excerpts import nanoseconds, readable, topics_of
from webapp.idempotency import Answer, Key, replayed
from webapp.parts import Parts
from webapp.queries.bundles import Source

LONGEST_SECONDS = 86_400.0
MEMORY_MB = 1024
RETRIED = (Reason.EVICTED, Reason.NODE_LOST, Reason.VANISHED, Reason.PREEMPTED, Reason.RUNTIME_ERROR)


def submit(parts: Parts, body: NewPlayback, source: Source, owner: UUID, key: Key | None) -> Answer:
    """Queue the playback; (202, answer), or those of before for a known key."""
    if key and (answer := key.known(parts.connections.database)):
        return answer
    readable(source)
    origin = source.bundle.start_ns
    new = NewJob(uuid4(), Kind.PLAYBACK, owner, source.bundle.id, _program(), {
        "rate": body.rate, "loop": body.loop, "topics": topics_of(source, body.topics),
        "start_ns": nanoseconds("start", body.start, origin), "end_ns": nanoseconds("end", body.end, origin)})
    made = {"id": str(new.id), "state": State.QUEUED, "bundle": str(new.bundle), "rate": body.rate,
            "paused": False, "position_ns": None, "websocket_url": None}
    known = parts.connections.lifecycle.submit_playback(new, key.answering(202, made) if key else None)
    return replayed(known) or (202, made)


def _program() -> Program:
    return Program(command=(), resources=Resources(memory_mb=MEMORY_MB), limits=Limits(run_seconds=LONGEST_SECONDS),
                   stop=Stop(grace_seconds=5), record=Record(required=False), retry=Retry(on=RETRIED))
