"""/playbacks: a recording played as if it happened now, for any number of viewers."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Response

from shared.domain.errors import Conflict, IllegalTransition, NotFound, Unavailable
from shared.domain.states import ENDED, State
from webapp import playbacks
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.base import Id
from webapp.api.schemas.playbacks import NewPlayback, Order, Playback
from webapp.auth.permissions import Caller, caller, needs
from webapp.idempotency import key_of_request
from webapp.parts import Parts, parts
from webapp.queries import bundles as bundle_queries
from webapp.queries import playbacks as queries
from webapp.streams import players
from webapp.streams.mailboxes import frame

api = Resource("playbacks", "Recordings played as if they happened now")

HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 0.5
STREAM: dict[Any, Any] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


@api.post("/playbacks", responses={202: Playback, 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def start_playback(body: NewPlayback) -> Response:
    """Play a bundle. It ends when it is stopped, or when nobody has looked for ten minutes."""
    key = key_of_request(caller().id, body)
    with parts().connections.database.single() as tx:
        source = bundle_queries.source(tx, body.bundle, caller().viewer)
    if source is None:
        raise NotFound(f"there is no bundle {body.bundle}")
    status, made = playbacks.submit(parts(), body, source, caller().id, key)
    return answer(made, status, {"Location": f"{parts().settings.api_str}/playbacks/{made['id']}"})


@api.get("/playbacks/<uuid:id>", responses={200: Playback, 404: PROBLEM})
@needs("viewer")
def show_playback(path: Id) -> Response:
    """A playback and where it stands."""
    row = _find(path.id)
    stand = None
    if row.state == State.RUNNING and row.address is not None:
        try:
            stand = players.order(row.address, "/stand", None)
        except Unavailable:  # it has just ended, or is about to be seen to have
            stand = None
    return answer(_resource(row, stand))


@api.post("/playbacks/<uuid:id>/control", responses={200: Playback, 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def control_playback(path: Id, body: Order) -> Response:
    """Play, pause, seek, change the rate, show one more message, or stop."""
    row = _find(path.id)
    caller().must_own(row.owner, f"playback {path.id}")
    if row.state in ENDED:
        raise IllegalTransition(f"playback {path.id} is {row.state} already")
    if row.state != State.RUNNING or row.address is None:
        if body.action != "stop":
            raise Conflict(f"playback {path.id} is {row.state}", code="not_playing", remedy="wait until it is RUNNING")
        parts().connections.lifecycle.cancel_job(path.id, actor=caller().actor)
        return answer(_resource(_find(path.id), None))
    try:
        stand = players.order(row.address, "/control", body.model_dump())
    except Unavailable:
        if body.action != "stop":
            raise
        parts().connections.lifecycle.cancel_job(path.id, actor=caller().actor)  # it hangs, so it is ended from outside
        return answer(_resource(_find(path.id), None))
    return answer(_resource(row, stand))


@api.get("/playbacks/<uuid:id>/stream", responses=STREAM | {404: PROBLEM})
@needs("viewer")
def stream_playback(path: Id) -> Response:
    """Decoded messages as they are played: `frame` events; `dropped` says how many a slow viewer missed; then `end`."""
    _find(path.id)
    return Response(_stream(parts(), path.id, caller()), mimetype="text/event-stream",
                    headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def _stream(parts: Parts, playback: UUID, caller: Caller) -> Iterator[bytes]:
    yield b"retry: 2000\n\n"
    for row in _until_running(parts, playback, caller):
        if row is None:
            yield b": still here\n\n"
        elif row.state in ENDED:
            yield frame("end", {"state": row.state}).data
            return
        else:
            yield from _view(parts, playback, row.address)


def _until_running(parts: Parts, playback: UUID, caller: Caller) -> Iterator[Any]:
    """The playback each time it runs, and once it has ended; None as often as a sign of life is due meanwhile."""
    told = time.monotonic()
    while not parts.hub.closing.is_set():
        with parts.connections.database.single() as tx:
            row = queries.find(tx, playback, caller.viewer)
        if row is None:
            return
        if row.state in ENDED or (row.state == State.RUNNING and row.address is not None):
            yield row
        elif time.monotonic() - told > HEARTBEAT_SECONDS:
            told = time.monotonic()
            yield None
        parts.hub.closing.wait(LOOK_SECONDS)


def _view(parts: Parts, playback: UUID, address: dict[str, Any]) -> Iterator[bytes]:
    viewer = parts.relays.join(playback, address)
    try:
        while (data := viewer.take(HEARTBEAT_SECONDS)) is not None:
            yield data or b": still here\n\n"
    finally:
        parts.relays.leave(playback, viewer)


def _find(playback: UUID) -> Any:
    with parts().connections.database.single() as tx:
        row = queries.find(tx, playback, caller().viewer)
    if row is None:
        raise NotFound(f"there is no playback {playback}")
    return row


def _resource(row: Any, stand: dict[str, Any] | None) -> dict[str, Any]:
    stand = stand or {}
    return {
        "id": str(row.id), "state": row.state, "bundle": str(row.bundle),
        "rate": stand.get("rate", row.parameters["rate"]), "paused": bool(stand) and not stand["playing"],
        "position_ns": stand.get("position_ns"),
        "websocket_url": row.address["websocket_url"] if stand and row.address else None}
