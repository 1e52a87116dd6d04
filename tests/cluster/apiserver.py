"""The API server over HTTP on a port of the loopback: what tests start, stop, and order faults from."""

import contextlib
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.faults import Call, Faults
from tests.cluster.handler import Handler
from tests.cluster.registry import Registry
from tests.cluster.store import Store

Logs = Callable[[dict[str, Any], str], "tuple[Path | None, bool]"]


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections, each served in a thread of its own, and can cut all of them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api: "ApiServer") -> None:
        self.api = api
        self._open: set[socket.socket] = set()
        self._lock = threading.Condition()
        super().__init__(("127.0.0.1", api.port), Handler, bind_and_activate=False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.server_bind()
        self.server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._lock:
            self._open.discard(request)
            self._lock.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no error of ours; anything else is kept for the test to see."""
        self.api.note_error()

    def cut_all(self) -> None:
        with self._lock:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
            self._lock.wait_for(lambda: not self._open, timeout=10)


class ApiServer:
    """Serves `registry`. `calls` are all requests so far; `allowed` None lets everybody do everything."""

    user = "system:serviceaccount:robot:simyard"

    def __init__(self, store: Store | None = None, *, token: str | None = None) -> None:
        self.registry = Registry(store or Store())
        self.faults = Faults(self.registry)
        self.calls: list[Call] = []
        self.errors: list[BaseException] = []
        self.token = token
        self.allowed: set[tuple[str, str]] | None = None  # (verb, "pods" or "pods/log")
        self.bookmark_seconds = 60.0
        self.create_seconds = 0.0  # in which nothing else is held up: a real one writes a new object to disks elsewhere
        self.log_limit = 10 << 20  # the kubelet begins a new log file when one is so long, and serves the newest only
        self.logs: Logs = lambda pod, container: (None, True)  # the log file of a container, and whether it has ended
        # Bound, never listening: keeps the port ours while the server is stopped.
        self._reserve = socket.socket()
        self._reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserve.bind(("127.0.0.1", 0))
        self.port: int = self._reserve.getsockname()[1]
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._listener is not None

    @property
    def rules(self) -> set[tuple[str, str]]:
        """What `allowed` has to hold for all calls so far."""
        return {(call.verb, f"{call.resource}/{call.subresource}" if call.subresource else call.resource)
                for call in self.calls if call.resource}

    def start(self) -> None:
        """Listen; the objects are those from before."""
        assert self._listener is None
        self._listener = _Listener(self)
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.02}, name="apiserver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut every connection and refuse new ones, until start()."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown()
        listener.server_close()
        self.registry.store.close_watches()
        listener.cut_all()
        assert self._thread is not None
        self._thread.join()

    def close(self) -> None:
        """Stop for ever. Raises the first error of our own that a request met with."""
        self.stop()
        self._reserve.close()
        if self.errors:
            raise self.errors[0]

    def note_error(self) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.errors.append(error)

    def count(self, verb: str, resource: str = "pods", name: str | None = None) -> int:
        """How many calls of this kind there were."""
        return sum(call.verb == verb and call.resource == resource and name in (None, call.name)
                   for call in list(self.calls))

    def wait_while_hanging(self) -> bool:
        """Whether the server hung just now; comes back when it does no longer or was stopped."""
        hung = self.faults.hanging
        while self.faults.hanging and self.running:
            self.faults.wait_until_answering(0.05)
        return hung

    def until(self, look: Callable[[], Any], seconds: float = 30) -> Any:
        """The first true answer of `look`, asked after each change of an object."""
        deadline = time.monotonic() + seconds
        with self.registry.store.changed:
            while not (answer := look()):
                left = deadline - time.monotonic()
                assert left > 0, f"waited {seconds} s in vain, last saw {answer!r}"
                self.registry.store.changed.wait(min(left, 1))
        return answer
