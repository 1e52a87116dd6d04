"""/playbacks: a recording played as if it happened now, for any number of viewers."""

import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

from flask import Response, request

from shared.domain.errors import Conflict, IllegalTransition, NotFound, Unavailable
from shared.domain.states import ENDED, State
from webapp import playbacks
from webapp.api.headers import once
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.base import Id
from webapp.api.schemas.playbacks import Admission, NewPlayback, Order, Playback
from webapp.auth import tickets
from webapp.auth.permissions import NOBODY, Caller, caller, may_stay, needs
from webapp.idempotency import key_of_request
from webapp.parts import Parts, parts
from webapp.problems import BadRequest
from webapp.queries import bundles as bundle_queries
from webapp.queries import playbacks as queries
from webapp.streams import players, websockets
from webapp.streams.mailboxes import frame
from webapp.streams.tunnels import Tunnel

api = Resource("playbacks", "Recordings played as if they happened now")

HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 0.5
OUT = websockets.End(1008, "your login has ended, or the playback is not yours to see any more")
KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
UPGRADED: dict[Any, Any] = {101: {"description": "Switching Protocols"}, 404: PROBLEM, 409: PROBLEM}
STREAM: dict[Any, Any] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


@api.post("/playbacks", responses={202: once(Playback), 404: PROBLEM, 409: PROBLEM})
@needs("operator")
def start_playback(body: NewPlayback) -> Response:
    """Play a bundle. It ends when it is stopped, or when nobody has looked for ten minutes."""
    key = key_of_request(parts().settings, caller().id, body)
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
            raise _not_playing(row)
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
            yield from _view(parts, playback, row.address, caller)


def _until_running(parts: Parts, playback: UUID, caller: Caller) -> Iterator[Any]:
    """The playback each time it runs, and once it has ended; None as often as a sign of life is due meanwhile."""
    told = time.monotonic()
    while not parts.hub.closing.is_set():
        with parts.connections.database.single() as tx:
            row = queries.find(tx, playback, caller.viewer)
        if row is None or not may_stay(parts, caller):
            return
        if row.state in ENDED or (row.state == State.RUNNING and row.address is not None):
            yield row
        elif time.monotonic() - told > HEARTBEAT_SECONDS:
            told = time.monotonic()
            yield None
        parts.hub.closing.wait(LOOK_SECONDS)


def _view(parts: Parts, playback: UUID, address: dict[str, Any], caller: Caller) -> Iterator[bytes]:
    viewer, looked = parts.relays.join(playback, address), time.monotonic()
    try:
        while (data := viewer.take(HEARTBEAT_SECONDS)) is not None:
            if time.monotonic() - looked >= HEARTBEAT_SECONDS:
                looked = time.monotonic()
                if _why_out(parts, playback, caller):
                    return
            yield data or b": still here\n\n"
    finally:
        parts.relays.leave(playback, viewer)


@api.get("/playbacks/<uuid:id>/foxglove", responses=UPGRADED, security=[], websocket=True)
@needs(NOBODY)
def connect_viewer(path: Id, query: Admission) -> Response:
    """The WebSocket of a viewer that speaks the Foxglove protocol; by a `websocket_url` of the playback. Its owner and
    admins move the playback by it, others look."""
    me, may_control = tickets.read(parts(), query.ticket, path.id)
    headers = _handshake()
    row = _find(path.id, me)
    if row.state != State.RUNNING or row.address is None:
        raise _not_playing(row)
    player = players.knock(row.address, "/foxglove/control" if may_control else "/foxglove/view", headers)
    tunnel = Tunnel(request.environ["gunicorn.socket"], player, partial(_why_out, parts(), path.id, me))
    answered = {"Sec-WebSocket-Accept": player.headers["sec-websocket-accept"]}
    if chosen := player.headers.get("sec-websocket-protocol"):
        answered["Sec-WebSocket-Protocol"] = chosen
    return websockets.Upgraded(partial(parts().tunnels.run, tunnel), answered)


def _handshake() -> dict[str, str]:
    """What the player is to know of the viewer's. BadRequest when it is none."""
    told = {name: value for name in websockets.HANDSHAKE if (value := request.headers.get(name)) is not None}
    is_whole = KEY.fullmatch(told.get("Sec-WebSocket-Key", "")) and told.get("Sec-WebSocket-Version") == "13"
    if request.method != "GET" or not is_whole:
        raise BadRequest("this is no handshake of version 13 of the WebSocket protocol", code="no_websocket")
    return told


def _why_out(parts: Parts, playback: UUID, me: Caller) -> websockets.End | None:
    """Why a viewer may not look any longer. Nobody is put out because the database restarts."""
    try:
        with parts.connections.database.single() as tx:
            seen = queries.find(tx, playback, me.viewer) is not None
    except Unavailable:
        return None
    return None if seen and may_stay(parts, me) else OUT


def _not_playing(row: Any) -> Conflict:
    return Conflict(f"playback {row.id} is {row.state}", code="not_playing", remedy="wait until it is RUNNING")


def _find(playback: UUID, me: Caller | None = None) -> Any:
    with parts().connections.database.single() as tx:
        row = queries.find(tx, playback, (me or caller()).viewer)
    if row is None:
        raise NotFound(f"there is no playback {playback}")
    return row


def _resource(row: Any, stand: dict[str, Any] | None) -> dict[str, Any]:
    stand = stand or {}
    return {
        "id": str(row.id), "state": row.state, "bundle": str(row.bundle),
        "rate": stand.get("rate", row.parameters["rate"]), "paused": bool(stand) and not stand["playing"],
        "position_ns": stand.get("position_ns"),
        "websocket_url": _websocket_url(row) if stand else None}


def _websocket_url(row: Any) -> str:
    """Where this caller's viewer is let in, at the address at which he reached us."""
    ticket = tickets.make(parts().settings, caller(), row.id, may_control=caller().may_act(row.owner, "playbacks"))
    scheme = "wss" if request.is_secure else "ws"
    return f"{scheme}://{request.host}{parts().settings.api_str}/playbacks/{row.id}/foxglove?ticket={ticket}"
