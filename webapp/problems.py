"""Turns every error into the contract's problem document. Registered by create_app; raised from everywhere in web."""

import http
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Flask, Response, g, json
from werkzeug.exceptions import HTTPException
from werkzeug.routing import WebsocketMismatch

from shared.domain import errors
from shared.domain.errors import FieldError, QuotaExceeded, Refused, SimyardError, Unavailable

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
NEVER_SECONDS = 86_400  # a 429 says when to come again, also where that depends on an admin


class BadRequest(Refused):
    """It cannot be read at all: broken JSON, a cursor that is none of ours."""

    code = "bad_request"


class Unauthenticated(Refused):
    """No token, or none that counts."""

    code = "unauthenticated"


class Throttled(QuotaExceeded):
    """It comes too soon; `retry_after_seconds` says when not."""

    code = "throttled"

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail, remedy=f"wait {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


STATUS: Mapping[type[SimyardError], int] = {
    BadRequest: 400,
    Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidSpec: 422,
    QuotaExceeded: 429,
    errors.Refused: 422,
    errors.Unavailable: 503,
}

HTTP_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 406: "not_acceptable",
              413: "too_large", 415: "unsupported_media_type"}
HTTP_DETAILS = {404: "there is nothing at this address", 405: "this address does not take this method",
                413: "the body is larger than a request may be (1 MiB)"}


def register(app: Flask) -> None:
    """Let all that goes wrong in `app` end as a problem document."""
    app.register_error_handler(SimyardError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def problem(status: int, code: str, detail: str, *, remedy: str | None = None, errors: Iterable[FieldError] = (),
            headers: Mapping[str, str] | None = None, passes: bool = True) -> Response:
    """The document itself; `retryable` says whether the same request may succeed later, which `passes` may deny."""
    body: dict[str, Any] = {
        "type": f"urn:simyard:problem:{code}",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "retryable": passes and status in (429, 503),
        "remedy": remedy,
        "errors": [{"field": error.field, "message": error.message} for error in errors],
    }
    response = Response(json.dumps(body) + "\n", status, mimetype="application/problem+json")
    response.headers.update(headers or {})
    if status in (429, 503):
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS if passes else NEVER_SECONDS))
    if status == 401:
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    return response


def _ours(error: SimyardError) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    g.refused = error.code
    if isinstance(error, Unavailable):
        log.warning("unavailable: %s", error.detail)
    headers = {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, Throttled) else None
    return problem(status, error.code, error.detail, remedy=error.remedy, errors=error.errors, headers=headers,
                   passes=not isinstance(error, QuotaExceeded) or error.passes)


def _http(error: HTTPException) -> Response:
    """What Flask itself refuses: unknown routes, methods, sizes."""
    if error.code is None or error.code < 400:
        return Response(error.get_response().get_data(), error.code, headers=error.get_headers())
    if isinstance(error, WebsocketMismatch):
        return problem(400, "no_websocket", "a WebSocket where there is none, or none where there is one",
                       remedy="open a playback's websocket_url with a viewer that speaks the Foxglove protocol")
    code = HTTP_CODES.get(error.code, "refused")
    detail = HTTP_DETAILS.get(error.code, error.description or error.name)
    allowed = {name: value for name, value in error.get_headers() if name == "Allow"}
    return problem(error.code, code, detail, headers=allowed)


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return problem(500, "internal_error", "something went wrong on our side; it has been logged",
                   remedy="try again; if it lasts, tell the operator the request id of this answer")
