"""/simulations/{id}/events: a simulation's life as server-sent events, without a gap and without a duplicate.

A stream first joins the hub, then reads a snapshot or what it missed; what the hub hands it from before is left out."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Response, request
from pydantic import Field

from shared.domain.errors import NotFound, Unavailable
from shared.domain.states import ENDED
from webapp.api.resource import PROBLEM, Resource
from webapp.api.schemas.base import Id, Query
from webapp.auth.permissions import Caller, caller, needs, still_admitted
from webapp.hub import Frame, Mailbox, frame, frame_of
from webapp.parts import Parts, parts
from webapp.queries import events, simulations

api = Resource("events", "Submissions: a template, the space of its parameters, and how it went", tag="simulations")

HEARTBEAT_SECONDS = 15.0
MAX_REPLAY = 5_000  # who missed more gets a snapshot
STREAM: dict[Any, Any] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


class EventQuery(Query):
    """Where to go on; for clients that cannot set the header Last-Event-ID."""

    last_event_id: str | None = Field(None, max_length=100)


@api.get("/simulations/<uuid:id>/events", responses=STREAM | {404: PROBLEM})
@needs("viewer")
def stream_events(path: Id, query: EventQuery) -> Response:
    """Transitions, progress and changes of state as they come; after the last, `end`."""
    last_id = request.headers.get("Last-Event-ID") or query.last_event_id
    hub = parts().hub
    mailbox = hub.join(path.id)
    try:
        opening = _opening(parts(), path.id, last_id, caller())
    except BaseException:
        hub.leave(path.id, mailbox)
        raise
    response = Response(_stream(path.id, opening, mailbox, parts(), caller()), mimetype="text/event-stream",
                        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.call_on_close(lambda: hub.leave(path.id, mailbox))
    return response


def _opening(parts: Parts, simulation: UUID, last_id: str | None, caller: Caller) -> list[Frame]:
    """What the stream begins with, all seen at one moment: the missed events or a reset, and perhaps the end."""
    with parts.connections.database.snapshot() as tx:
        status = simulations.status(tx, simulation, caller.viewer)
        if status is None:
            raise NotFound(f"there is no simulation {simulation}")
        number = events.last_number(tx)
        known = _number(last_id, number)
        missed = [] if known is None else events.of_simulation(tx, simulation, known, MAX_REPLAY + 1)
        if known is None or len(missed) > MAX_REPLAY:
            jobs = events.last_of_jobs(tx, simulation)
            frames = [frame("reset", {"number": number, "simulation": status, "jobs": jobs}, number)]
        else:
            frames = [frame_of(row) for row in missed]
    # The last frame, shown or not, says up to where the hub's are known already.
    return [*frames, Frame(number, b"", ends=status["state"] in ENDED)]


def _number(last_id: str | None, last: int) -> int | None:
    """The event number of a Last-Event-ID, if we have given that number."""
    if last_id is None or not last_id.isascii() or not last_id.isdigit() or len(last_id) > 18:
        return None
    return int(last_id) if int(last_id) <= last else None


def _stream(simulation: UUID, opening: list[Frame], mailbox: Mailbox, parts: Parts,
            caller: Caller) -> Iterator[bytes]:
    yield b"retry: 2000\n\n" + b"".join(each.data for each in opening)
    number, ended = opening[-1].number or 0, opening[-1].ends
    while not ended:
        frames = mailbox.take(HEARTBEAT_SECONDS)
        if frames is None or (not frames and not _still_there(simulation, parts, caller)):
            return  # cut: the client comes again with its last id
        fresh = [each for each in frames if each.number is None or each.number > number]
        number = max((each.number for each in fresh if each.number), default=number)
        ended = any(each.ends for each in fresh)
        if fresh or not frames:
            yield b"".join(each.data for each in fresh) or b": still here\n\n"
    yield frame("end", {"number": number}, number).data


def _still_there(simulation: UUID, parts: Parts, caller: Caller) -> bool:
    """Whether there is somebody who may look, and something to look at."""
    try:
        with parts.connections.database.single() as tx:
            is_shown = simulations.owner(tx, simulation, caller.viewer) is not None
        return is_shown and still_admitted(parts, caller)
    except Unavailable:  # nobody is put out because the database restarts
        return True
