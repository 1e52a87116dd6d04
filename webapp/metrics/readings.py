"""What a part of ours said last, for scrapes: asked by one at a time and not at each scrape, and never waited for long,
so that neither many scrapes nor a part that hangs can pile anything up."""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from shared.domain.errors import Unavailable

log = logging.getLogger(__name__)

KEPT_SECONDS = 5.0
WAIT_SECONDS = 4.0  # a monitor waits ten

T = TypeVar("T")


class Reading(Generic[T]):
    """The answer of `ask`, kept for KEPT_SECONDS. It is asked in a thread of its own."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._last: T | None = None
        self._until = 0.0
        self._asked: threading.Event | None = None  # set by the thread that asks, None while none does

    def get(self) -> T | None:
        """What it says, or said a moment ago; None when it does not answer."""
        with self._lock:
            if self._asked is None and monotonic() < self._until:
                return self._last
            asked = self._asked = self._asked or self._begin()
        return self._last if asked.wait(WAIT_SECONDS) else None

    def _begin(self) -> threading.Event:
        asked = threading.Event()
        threading.Thread(target=self._answer, args=(asked,), name="reading", daemon=True).start()
        return asked

    def _answer(self, asked: threading.Event) -> None:
        last = None
        try:
            last = self._ask()
        except Unavailable as error:
            log.warning("not in the metrics: %s", error)
        except Exception:  # a scrape tells what else is known
            log.exception("not in the metrics")
        with self._lock:
            self._last, self._until, self._asked = last, monotonic() + KEPT_SECONDS, None
        asked.set()
