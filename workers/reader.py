"""The process that reads moments of bundles: `python -m workers.reader` answers POST /excerpts, for web alone, by one
caged child a request (excerpt.py). It parses nothing of a recording itself and holds no key to the storage.
"""

import hmac
import json
import logging
import selectors
import signal
import socket
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryDirectory
from typing import Any

from shared import logs
from shared.settings import ReaderSettings, read
from workers.excerpters import Excerpter, Excerpters, Failure

log = logging.getLogger(__name__)

LARGEST_REQUEST = 16 << 20
BLOCK = 1 << 16
# Until the first byte of an answer and between two, which is less than web waits; and for a client that takes none.
PATIENCE_SECONDS = 80.0
CLIENT_SECONDS = 60.0
WARM = 2
STATUSES = {"bad_request": 422, "cannot_slice": 422, "too_large": 422, "source_timeout": 504, "timeout": 504}
KINDS = {"mcap": "application/octet-stream", "db3": "application/x-tar"}


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Reader(ThreadingHTTPServer):
    """Serves until it is shut down; a thread a connection, a child an excerpt, at most `limit` of these at once."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], token: str, limit: int, scratch: str) -> None:
        self.token, self.scratch = token.encode(), scratch
        self.places = threading.BoundedSemaphore(limit)
        self.excerpters = Excerpters(min(WARM, limit))
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: Reader
    protocol_version = "HTTP/1.1"
    timeout = CLIENT_SECONDS
    server_version, sys_version = "simyard-reader", ""

    def do_GET(self) -> None:
        """GET /health."""
        if self.path == "/health":
            self._answer(200, {"status": "healthy"})
        else:
            self._answer(404, {"code": "not_found", "message": "there are /health and /excerpts"})

    def do_POST(self) -> None:
        """POST /excerpts."""
        body = self._body()
        if body is None or self.path != "/excerpts":
            self._answer(404 if body is not None else 413, {"code": "bad_request", "message": "no such request"})
        elif not hmac.compare_digest(self.headers.get("Authorization", "").encode(), b"Bearer " + self.server.token):
            self._answer(401, {"code": "unauthorized", "message": "a token is needed"})
        elif not self.server.places.acquire(blocking=False):
            self._answer(503, {"code": "busy", "message": "as much is read as can be at once"}, {"Retry-After": "1"})
        else:
            try:
                self._excerpt(body)
            finally:
                self.server.places.release()

    def _body(self) -> bytes | None:
        """What was sent; None when it is too much, or of unknown length."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_REQUEST:
            self.close_connection = True
            return None
        return self.rfile.read(int(length))

    def _excerpt(self, body: bytes) -> None:
        try:
            request = dict(json.loads(body))
        except (ValueError, TypeError, RecursionError):
            self._answer(422, {"code": "bad_request", "message": "no JSON object"})
            return
        began, excerpter = time.monotonic(), self.server.excerpters.take()
        outcome = "client gone"
        try:
            with TemporaryDirectory(dir=self.server.scratch, ignore_cleanup_errors=True) as scratch:
                try:
                    excerpter.ask(request | {"scratch": scratch})
                    outcome = self._pass_on(excerpter, KINDS.get(str(request.get("as")), "application/x-ndjson"))
                finally:
                    excerpter.end()
        except (ClientGone, OSError):
            self.close_connection = True
        finally:
            took = time.monotonic() - began
            log.info("excerpt of %r as %s: %s in %.3f s", request.get("name"), request.get("as"), outcome, took)
            self.server.excerpters.refill()

    def _pass_on(self, excerpter: Excerpter, kind: str) -> str:
        """Passes the child's answer on as it comes; how it went. Raises ClientGone, OSError."""
        block, failure = self._next(excerpter)
        if failure:
            self._answer(STATUSES.get(failure.code, 502), failure._asdict())
            return failure.code
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while block:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            block, failure = self._next(excerpter)
        if failure:
            # Without the last chunk the client knows that this is not all.
            self.close_connection = True
            log.warning("an excerpt broke: %s", failure.message)
            return failure.code
        self.wfile.write(b"0\r\n\r\n")
        return "whole"

    def _next(self, excerpter: Excerpter) -> tuple[bytes, Failure | None]:
        """The next piece of the answer; nothing at its end, with what is wrong with it. Raises ClientGone."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(excerpter, selectors.EVENT_READ)
            selector.register(self.connection, selectors.EVENT_READ)
            while ready := selector.select(max(0.0, deadline - time.monotonic())):
                if any(key.fileobj is excerpter for key, _ in ready):
                    block = excerpter.read(BLOCK)
                    return block, None if block else excerpter.failure()
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise ClientGone
                # It speaks before it is its turn.
                selector.unregister(self.connection)
        return b"", Failure("timeout", f"nothing was read for {PATIENCE_SECONDS:g} s")

    def _answer(self, status: int, said: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def main() -> None:
    """Serves until SIGTERM or SIGINT; children end with this process however it ends."""
    settings = read(ReaderSettings)
    logs.configure(settings.log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with TemporaryDirectory(prefix="simyard-reader-", ignore_cleanup_errors=True) as scratch:
        token = settings.simyard_reader_token.get_secret_value()
        with Reader(settings.address, token, settings.excerpts, scratch) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            log.info("listens on %s:%d", *server.server_address[:2])
            stopped.wait()
            server.shutdown()
            server.excerpters.close()


if __name__ == "__main__":
    main()
