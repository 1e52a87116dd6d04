"""Structured logs: one JSON object a line on stderr, with the ids of the request, trace, job or task at hand on every
line."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_context: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)
_current_trace: Callable[[], str | None] | None = None

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, the ids at hand, and the traceback when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(_context.get() or {}),
        }
        if _current_trace is not None and (trace := _current_trace()):
            line["trace"] = trace
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str) -> None:
    """Send every log line of this process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def follow(current_trace: Callable[[], str | None]) -> None:
    """From now on every line carries the trace id that this returns, when it returns one."""
    global _current_trace
    _current_trace = current_trace


def trace_of(traceparent: str) -> dict[str, str]:
    """{"trace": id} of a W3C traceparent header, nothing when it is none; for ids()."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return {"trace": match[1]} if match else {}


@contextmanager
def ids(**values: object) -> Iterator[None]:
    """Put these ids on every line logged inside the block."""
    token = _context.set((_context.get() or {}) | {name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        _context.reset(token)
