"""Turns the signals that a supervisor gets into something it can wait for: the wish to stop, and the end of a child."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequested(Exception):
    """Somebody wants the stack to stop."""


class Signals:
    """Hears SIGINT, SIGTERM, SIGHUP (unless it is ignored, as under nohup) and SIGCHLD while installed."""

    def __init__(self) -> None:
        self._is_stopping = False
        self._heard, self._hears = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hear them within the block. A wish to stop is never lost, and further ones change nothing."""
        stops = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            stops.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._stop) for number in stops}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._hears, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._heard)
            os.close(self._hears)

    def pause(self, seconds: float) -> None:
        """Wait that long, or until a signal came; raises StopRequested when the stack is to stop."""
        if self._is_stopping:
            raise StopRequested
        if select.select([self._heard], [], [], seconds)[0]:
            os.read(self._heard, 4096)
        if self._is_stopping:
            raise StopRequested

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True
