"""What happens around every request: its id, its log line, the headers that all answers carry."""

import logging
import re
import time
from secrets import token_hex

from flask import Flask, Response, g, request

from shared.logs import ids

log = logging.getLogger(__name__)

MAX_BODY = 1 << 20

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def register(app: Flask) -> None:
    """Hook into `app`."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_end)


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if given and _SANE_ID.fullmatch(given) else token_hex(16)
    g.began = time.perf_counter()
    g.on_every_line = ids(request=g.request_id)
    g.on_every_line.__enter__()


def _finish(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-Id"] = g.request_id
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Cache-Control", "no-store")
    _write_line(response)
    return response


def _write_line(response: Response) -> None:
    """A line for each request that changes or fails; polls and lists are there at DEBUG."""
    quiet = request.method in ("GET", "HEAD", "OPTIONS") and response.status_code < 400
    level = logging.DEBUG if quiet or request.endpoint == "internal.report" else logging.INFO
    if log.isEnabledFor(level):
        caller = g.get("caller")
        log.log(level, "%s %s %d %.1f ms%s", request.method, request.path, response.status_code,
                1000 * (time.perf_counter() - g.began), f" by {caller.id}" if caller else "")


def _end(_error: BaseException | None) -> None:
    if on_every_line := g.pop("on_every_line", None):
        on_every_line.__exit__(None, None, None)
