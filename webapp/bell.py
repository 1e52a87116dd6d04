"""What lifecycle calls after each commit in web: admits, sends and numbers behind the answers, many commits at once."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from functools import partial

from shared.domain.errors import Unavailable
from shared.lifecycle import Lifecycle
from shared.messaging.queue import Work

log = logging.getLogger(__name__)


class Bell:
    """`ring` only takes down what is due and returns. One thread, begun by the first ring, does all of it: it gives
    out free slots, then sends the tasks of its own and the collected commits, then numbers and publishes once. What it
    does for a commit it does in the context of who rang, so that log lines and traces name the request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rung = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._pending: list[tuple[Context, Sequence[Work]]] = []
        self._admitted: list[Work] = []
        self._thread: threading.Thread | None = None
        self._lifecycle: Lifecycle | None = None

    def serve(self, lifecycle: Lifecycle) -> None:
        """The lifecycle whose commits ring here; said once, before the first ring."""
        self._lifecycle = lifecycle

    def ring(self, work: Sequence[Work]) -> None:
        """Something was committed, and `work` is due. Never waits, never fails."""
        if threading.current_thread() is self._thread:  # admit() tells of its own commit: part of the round under way
            self._admitted += work
            return
        with self._lock:
            self._pending.append((copy_context(), work))
            self._idle.clear()
            self._rung.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._answer, name="bell", daemon=True)
                self._thread.start()

    def wait(self, timeout_seconds: float) -> bool:
        """Whether everything rung so far was answered within the time. For shutdown and tests."""
        return self._idle.wait(timeout_seconds)

    def _answer(self) -> None:
        while self._rung.wait():
            with self._lock:
                rung, self._pending = self._pending, []
                self._rung.clear()
            self._round(rung)
            with self._lock:
                if not self._rung.is_set():
                    self._idle.set()

    def _round(self, rung: Sequence[tuple[Context, Sequence[Work]]]) -> None:
        lifecycle = self._lifecycle
        if lifecycle is None:
            raise RuntimeError("the bell was rung before serve() named a lifecycle")
        self._admitted = []
        first, _ = rung[0]  # what is done once for all is done in the name of who rang first
        first.run(self._try, lifecycle.admit)
        for context, work in rung:
            if work and not context.run(self._try, partial(lifecycle.send, work)):
                break  # the next would wait for the broker as long
        first.run(self._try, partial(lifecycle.settle, self._admitted))

    @staticmethod
    def _try(step: Callable[[], object]) -> object:
        try:
            return step()
        except Unavailable as error:
            log.warning("left to the sweep: %s", error)
        except Exception:  # the thread serves every later commit too; the sweep repeats what failed here
            log.exception("left to the sweep")
        return None
