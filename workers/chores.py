"""What the leading watcher does besides, in a thread of its own: each chore a small step at a time, then it rests. So
an S3 that hangs holds up nothing but the chores.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

from shared.domain.errors import Unavailable
from workers.abandoned import forget_uploads
from workers.doors import Doors
from workers.garbage import delete_garbage
from workers.retention import disown, expire, purge, retire

log = logging.getLogger(__name__)

DOWN_SECONDS = 60.0  # after a part of ours did not answer
IDLE_SECONDS = 0.5


class Chores:
    """Each does a step of its work and says whether that is all; then it rests for so many seconds."""

    def __init__(self, doors: Doors, audit_keep_days: int) -> None:
        self._doors = doors
        self._rests: dict[Callable[[Doors], bool], float] = {
            purge: 2.0, delete_garbage: 2.0, disown: 10.0, forget_uploads: 60.0, retire: 300.0,
            partial(expire, audit_days=audit_keep_days): 300.0}
        self._due = dict.fromkeys(self._rests, 0.0)
        self._until = 0.0

    def allow(self, until: float) -> None:
        """Steps may begin until then, by the monotonic clock."""
        self._until = until

    def start(self, stopped: threading.Event) -> None:
        """Go on in a thread that nobody has to wait for: while it is allowed, and until told to stop."""
        threading.Thread(target=self._run, args=(stopped,), name="chores", daemon=True).start()

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            if not self.step():
                stopped.wait(IDLE_SECONDS)

    def step(self) -> bool:
        """Do a step of each that is due, while it is allowed; whether any has more to do at once."""
        unfinished = [self._step(chore, rest) for chore, rest in self._rests.items()
                      if self._due[chore] <= monotonic() < self._until]
        return any(unfinished)

    def _step(self, chore: Callable[[Doors], bool], rest: float) -> bool:
        try:
            goes_on = not chore(self._doors)
        except Unavailable as error:  # which holds up nothing else
            log.warning("a chore is left for later: %s", error)
            goes_on, rest = False, DOWN_SECONDS
        except Exception:  # nor may what is wrong with one thing stop the looking after all others
            log.exception("a chore is left for later")
            goes_on, rest = False, DOWN_SECONDS
        if not goes_on:
            self._due[chore] = monotonic() + rest
        return goes_on
