"""What happens around every request: its id, its log line, its time for the metrics, the headers of all answers."""

import logging
import re
import time
from collections.abc import Mapping
from functools import cache
from random import getrandbits

from flask import Flask, Response, g, request

from shared.logs import ids, trace_of
from webapp import audit
from webapp.parts import parts

log = logging.getLogger(__name__)

MAX_BODY = 1 << 20

STANDING = (
    ("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-store"))  # unless a view states another

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def register(app: Flask) -> None:
    """Hook into `app`."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_end)


def _begin() -> None:
    headers = request.environ  # where a look for one that is not there costs nothing
    given = headers.get("HTTP_X_REQUEST_ID", "")
    request_id = g.request_id = given if given and _SANE_ID.fullmatch(given) else _make_id()
    g.began = time.perf_counter()
    g.on_every_line = on_every_line = ids(request=request_id, **trace_of(headers.get("HTTP_TRACEPARENT", "")),
                                          **_job_of(request.view_args or {}))
    on_every_line.__enter__()
    if "HTTP_X_FORWARDED_FOR" in headers and not parts().settings.trusted_proxies:
        _warn_of_a_proxy()


def _make_id() -> str:
    """One that nobody else has; not a secret, for which the kernel would have to be asked each time."""
    return f"{getrandbits(128):032x}"


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
    stated = {name.lower() for name, _ in headers}
    headers.add("X-Request-Id", g.request_id)
    for name, value in STANDING:
        if name.lower() not in stated:
            headers.add(name, value)
    if g.get("replayed"):
        headers["Idempotent-Replayed"] = "true"
    audit.record(response)
    seconds = time.perf_counter() - g.began
    method, rule = request.method, request.url_rule
    parts().metrics.requests.observe(method, rule.rule if rule else None, response.status_code, seconds)
    _write_line(method, response.status_code, seconds)
    return response


def _write_line(method: str, status: int, seconds: float) -> None:
    """A line for each request that changes or fails; polls and lists are there at DEBUG."""
    quiet = method in ("GET", "HEAD", "OPTIONS") and status < 400
    level = logging.DEBUG if quiet or request.endpoint == "internal.report" else logging.INFO
    if log.isEnabledFor(level):
        caller = g.get("caller")
        log.log(level, "%s %s %d %.1f ms%s", method, request.path, status, 1000 * seconds,
                f" by {caller.id}" if caller else "")


def _end(_error: BaseException | None) -> None:
    if on_every_line := g.pop("on_every_line", None):
        on_every_line.__exit__(None, None, None)
