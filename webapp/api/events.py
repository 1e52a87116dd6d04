"""/events and /simulations/{id}/events: what happens as server-sent events, without a gap and without a duplicate.

A stream first joins the hub, then reads a snapshot or what it missed; what the hub hands it from before is left out."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from flask import Response, request
from pydantic import Field

from shared.domain.errors import NotFound, Unavailable
from shared.domain.states import ENDED
from webapp.api.resource import PROBLEM, Resource
from webapp.api.schemas.base import Id, Query
from webapp.auth.permissions import Caller, caller, may_stay, needs
from webapp.parts import Parts, parts
from webapp.queries import events, simulations
from webapp.streams.mailboxes import Frame, Mailbox, frame, frame_of

api = Resource("events", "What happens, as it happens")

HEARTBEAT_SECONDS = 15.0
MAX_REPLAY = 5_000  # who missed more gets a snapshot
MAX_SIMULATIONS = 1_000  # in a snapshot of everything
MAX_JOBS = 5_000  # in a snapshot
STREAM: dict[Any, Any] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, 429: PROBLEM}

# Given a snapshot's transaction, the last number in it and the number the client has seen (None: none we know), what
# the stream begins with.
Opening = Callable[[Any, int, int | None], list[Frame]]


class EventQuery(Query):
    """Where to go on; for clients that cannot set the header Last-Event-ID."""

    last_event_id: str | None = Field(None, max_length=100, examples=["4711"])
    """The number of the last event seen; the header Last-Event-ID comes first."""


@api.get("/events", responses=STREAM)
@needs("viewer")
def stream_all_events(query: EventQuery) -> Response:
    """Transitions, progress and changes of state of all that the caller may see, as they come. It has no end."""
    return _respond(None, query, partial(_open_all, caller()))


@api.get("/simulations/<uuid:id>/events", responses=STREAM | {404: PROBLEM})
@needs("viewer", scope="simulations")
def stream_events(path: Id, query: EventQuery) -> Response:
    """Transitions, progress and changes of state as they come; after the last, `end`."""
    return _respond(path.id, query, partial(_open_one, caller(), path.id))


def _respond(simulation: UUID | None, query: EventQuery, opening: Opening) -> Response:
    hub, me = parts().hub, caller()
    mailbox = hub.join(simulation, me.id, me.viewer, partial(_cut, request.environ.get("gunicorn.socket")))
    try:
        frames = _open(opening, request.headers.get("Last-Event-ID") or query.last_event_id)
    except BaseException:  # also where the client goes: what did not begin leaves no place taken
        hub.leave(mailbox)
        raise
    response = Response(_stream(frames, mailbox, parts(), me), mimetype="text/event-stream",
                        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.call_on_close(lambda: hub.leave(mailbox))
    return response


def _cut(connection: socket.socket | None) -> None:
    """End the connection of one who does not read: writing to it waits, perhaps for ever. By a second handle, for on
    its own gevent would wake the writer with an error that is logged."""
    if connection is not None:
        with suppress(OSError), connection.dup() as same:
            same.shutdown(socket.SHUT_RDWR)


def _open(opening: Opening, last_id: str | None) -> list[Frame]:
    """What the stream begins with, all seen at one moment."""
    with parts().connections.database.snapshot() as tx:
        number = events.last_number(tx)
        return opening(tx, number, _number(last_id, number))


def _open_one(me: Caller, simulation: UUID, tx: Any, number: int, known: int | None) -> list[Frame]:
    """The missed events or a reset, and perhaps the end."""
    status = simulations.status(tx, simulation, me.viewer)
    if status is None:
        raise NotFound(f"there is no simulation {simulation}")
    missed = [] if known is None else events.of_simulation(tx, simulation, known, MAX_REPLAY + 1)
    if known is None or len(missed) > MAX_REPLAY:
        jobs = events.last_of_jobs(tx, simulation, MAX_JOBS + 1)
        snapshot = {"number": number, "simulation": status, "jobs": jobs[:MAX_JOBS], "cut": len(jobs) > MAX_JOBS}
        frames = [frame("reset", snapshot, number)]
    else:
        frames = [frame_of(row) for row in missed]
    return [*frames, _up_to(number, ends=status["state"] in ENDED)]


def _open_all(me: Caller, tx: Any, number: int, known: int | None) -> list[Frame]:
    """The missed events or a reset with what has not ended."""
    if known is not None and number - known <= MAX_REPLAY:
        return [*(frame_of(row) for row in events.visible_after(tx, known, me.viewer)), _up_to(number)]
    found = simulations.unended(tx, me.viewer, MAX_SIMULATIONS + 1)
    jobs = events.last_of_live_jobs(tx, me.viewer, MAX_JOBS + 1)
    cut = len(found) > MAX_SIMULATIONS or len(jobs) > MAX_JOBS
    snapshot = {"number": number, "simulations": found[:MAX_SIMULATIONS], "jobs": jobs[:MAX_JOBS], "cut": cut}
    return [frame("reset", snapshot, number), _up_to(number)]


def _up_to(number: int, *, ends: bool = False) -> Frame:
    """A frame that is not shown: the hub's are known already up to this one."""
    return Frame(number, b"", ends)


def _number(last_id: str | None, last: int) -> int | None:
    """The event number of a Last-Event-ID, if we have given that number."""
    if last_id is None or not last_id.isascii() or not last_id.isdigit() or len(last_id) > 18:
        return None
    return int(last_id) if int(last_id) <= last else None


def _stream(opening: list[Frame], mailbox: Mailbox, parts: Parts, me: Caller) -> Iterator[bytes]:
    yield b"retry: 2000\n\n" + b"".join(each.data for each in opening)
    number, ended = opening[-1].number or 0, opening[-1].ends
    del opening  # it may be large, and the stream long
    looked = time.monotonic()
    while not ended:
        frames = mailbox.take(HEARTBEAT_SECONDS)
        if frames is None:
            return  # cut: the client comes again with its last id
        if not frames or time.monotonic() - looked >= HEARTBEAT_SECONDS:
            if not _may_go_on(parts, me, mailbox.simulation):
                return
            looked = time.monotonic()
        fresh = [each for each in frames if each.number is None or each.number > number]
        number = max((each.number for each in fresh if each.number), default=number)
        ended = mailbox.simulation is not None and any(each.ends for each in fresh)
        if fresh or not frames:
            yield b"".join(each.data for each in fresh) or b": still here\n\n"
    yield frame("end", {"number": number}, number).data


def _may_go_on(parts: Parts, me: Caller, simulation: UUID | None) -> bool:
    """Whether there is still somebody who may look, and something to look at."""
    if not may_stay(parts, me):
        return False
    try:
        with parts.connections.database.single() as tx:
            return simulation is None or simulations.owner(tx, simulation, me.viewer) is not None
    except Unavailable:  # nobody is put out because the database restarts
        return True
