"""/instances/{id}/logs: what a program wrote, while it runs and afterwards."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Response

from shared.domain.errors import NotFound, Unavailable
from webapp.api.instances import no_instance
from webapp.api.resource import PROBLEM, Resource
from webapp.api.schemas.base import Id
from webapp.api.schemas.instances import LogQuery
from webapp.auth.permissions import caller, needs
from webapp.parts import Parts, parts
from webapp.queries import attempts, instances

api = Resource("logs", "Single runs of a simulator", tag="instances", scope="simulations")

POLL_SECONDS = 0.5
TEXT: dict[Any, Any] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@api.get("/instances/<uuid:id>/logs", responses=TEXT | {302: None, 404: PROBLEM})
@needs("viewer")
def show_log(path: Id, query: LogQuery) -> Response:
    """The log of an attempt.

    The whole of it is a redirect when it is longer than the last 64 KiB, which are at hand for `tail` and `follow`."""
    with parts().connections.database.single() as tx:
        row = instances.owner(tx, path.id, caller().viewer)
        if row is None:
            raise no_instance(path.id)
        number = query.attempt or row.attempt
        log = attempts.find(tx, path.id, number)
    if log is None or (log.number is None and number != row.attempt):
        raise NotFound(f"instance {path.id} has no attempt {number}")
    if query.follow:
        return _text(_follow(parts(), path.id, number, query.tail))
    if log.log_key and query.tail is None:
        url = parts().connections.store.download_url(log.log_key, f"{path.id}-{number}.log",
                                                     content_type="text/plain; charset=utf-8")
        return Response(status=302, headers={"Location": url})
    return _text(log.log_tail if query.tail is None else attempts.last_lines(log.log_tail, query.tail))


def _text(body: Any) -> Response:
    return Response(body, mimetype="text/plain", headers={"X-Accel-Buffering": "no"})


def _follow(parts: Parts, job: UUID, number: int, tail: int | None) -> Iterator[str]:
    """What is there, then what is added, until the attempt or this process has ended."""
    yield ""  # sends the headers
    seen: int | None = None
    while not parts.hub.closing.is_set():
        try:
            log = _read(parts, job, number)
        except Unavailable:  # it may be back at the next look; the reader is not cut off for it
            parts.hub.closing.wait(POLL_SECONDS)
            continue
        if log is None:  # deleted meanwhile
            return
        text = attempts.last_lines(log.log_tail, tail) if seen is None and tail is not None else _added(log, seen or 0)
        seen = log.log_end
        if text:
            yield text
        if log.over:
            return
        parts.hub.closing.wait(POLL_SECONDS)


def _read(parts: Parts, job: UUID, number: int) -> Any:
    with parts.connections.database.single() as tx:
        return attempts.find(tx, job, number)


def _added(log: Any, seen: int) -> str:
    """What came after the first `seen` bytes, as far as the window still holds it."""
    window = log.log_tail.encode()
    new = log.log_end - seen
    if new <= len(window):
        return window[len(window) - new:].decode(errors="replace") if new > 0 else ""
    return f"[{new - len(window)} bytes of log skipped]\n{log.log_tail}"
