"""What happens around every request: its id, its log line, its time for the metrics, the headers of all answers."""

import logging
import re
import time
from collections.abc import Mapping
from functools import cache
from secrets import token_hex

from flask import Flask, Response, g, request

from shared.logs import ids, trace_of
from webapp import audit
from webapp.parts import parts

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
    g.on_every_line = ids(request=g.request_id, **trace_of(request.headers.get("traceparent", "")),
                          **_job_of(request.view_args or {}))
    g.on_every_line.__enter__()
    if not parts().settings.trusted_proxies and "X-Forwarded-For" in request.headers:
        _warn_of_a_proxy()


@cache
def _warn_of_a_proxy() -> None:
    """Once a process, for anybody can send the header."""
    log.warning("a request came with X-Forwarded-For, which is not believed: TRUSTED_PROXIES is 0. If a proxy of yours "
                "sets it, state how many there are; until then all who come through it count as one address, and "
                "wait for each other's wrong passwords")


def _job_of(path: Mapping[str, object]) -> dict[str, object]:
    """The attempt that a recorder speaks for."""
    return {name: path[name] for name in ("job", "attempt") if name in path}


def _finish(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-Id"] = g.request_id
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Cache-Control", "no-store")
    if g.get("replayed"):
        headers["Idempotent-Replayed"] = "true"
    audit.record(response)
    seconds = time.perf_counter() - g.began
    route = request.url_rule.rule if request.url_rule else None
    parts().metrics.requests.observe(request.method, route, response.status_code, seconds)
    _write_line(response, seconds)
    return response


def _write_line(response: Response, seconds: float) -> None:
    """A line for each request that changes or fails; polls and lists are there at DEBUG."""
    quiet = request.method in ("GET", "HEAD", "OPTIONS") and response.status_code < 400
    level = logging.DEBUG if quiet or request.endpoint == "internal.report" else logging.INFO
    if log.isEnabledFor(level):
        caller = g.get("caller")
        log.log(level, "%s %s %d %.1f ms%s", request.method, request.path, response.status_code,
                1000 * seconds, f" by {caller.id}" if caller else "")


def _end(_error: BaseException | None) -> None:
    if on_every_line := g.pop("on_every_line", None):
        on_every_line.__exit__(None, None, None)
