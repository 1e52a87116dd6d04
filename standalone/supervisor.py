"""Starts parts, waits until they are ready, starts again what ends, and leaves nothing behind; all on one thread.

Used by the stack for everything that it runs, and by Servers for the three servers alone.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from standalone.backoff import LONGEST_SECONDS, Backoff
from standalone.children import Child, Part, rotate
from standalone.failures import NotReady, StartFailed

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
DYING_SECONDS = 1.0  # for what was killed to be gone


class Tended:
    """A part that is to run: its present child, and when to start the next."""

    def __init__(self, part: Part, child: Child) -> None:
        self.part = part
        self.child = child
        self.backoff = Backoff()
        self.is_ready = False
        self.due: float | None = None


class Supervisor:
    """`pause` waits that long or until a child may have ended, and may raise to have all stopped."""

    def __init__(self, logs: Path, *, pause: Callable[[float], None] = time.sleep, keep_open: Sequence[int] = (),
                 changed: Callable[[], None] = lambda: None) -> None:
        self._logs = logs
        logs.mkdir(mode=0o700, exist_ok=True)
        rotate(logs)
        self.pause = pause
        self._keep_open = keep_open
        self._changed = changed
        self._tended: dict[str, Tended] = {}

    def pids(self) -> dict[str, int]:
        """The process of each part, by name."""
        return {name: tended.child.pid for name, tended in self._tended.items()}

    def start(self, *parts: Part) -> None:
        """Start them all at once."""
        for part in parts:
            self._tended[part.name] = Tended(part, self._spawn(part))

    def wait_until_ready(self) -> None:
        """Return once every part that was started is ready; raises StartFailed when one will not be."""
        begun = time.monotonic()
        while waiting := [tended for tended in self._tended.values() if not tended.is_ready]:
            self._tend()
            for tended in waiting:
                self._probe(tended, begun)
            self.pause(LOOK_SECONDS)

    def watch(self) -> None:
        """Start again what ends, until `pause` raises."""
        while True:
            self._tend()
            due = [tended.due for tended in self._tended.values() if tended.due is not None]
            self.pause(max(0.0, min(due, default=time.monotonic() + 60) - time.monotonic()))

    def run(self, part: Part, seconds: float) -> None:
        """Run it to its end; raises StartFailed when that is late or not a good one."""
        child = self._spawn(part)
        deadline = child.started + seconds
        try:
            while not child.has_ended():
                if time.monotonic() > deadline:
                    raise StartFailed(part.name, f"did not finish within {seconds:.0f} s", f"see {child.log}")
                self.pause(LOOK_SECONDS)
        finally:
            _end([child], seconds=1)
        if not child.is_good:
            raise StartFailed(part.name, child.last_words() or child.exit, f"see {child.log}")

    def stop(self, names: Iterable[str] | None = None, *, last_act: Part | None = None, seconds: float = 3) -> bool:
        """Ask these parts, or all, to end, while `last_act` runs to its own end; kill what is left after `seconds`.

        Whether the last act ended as it should.
        """
        wanted = set(self._tended if names is None else names)
        children = [self._tended.pop(name).child for name in list(self._tended) if name in wanted]
        actors = [] if last_act is None else self._try_to_spawn(last_act)
        _end(children + actors, seconds, spare=last_act)
        return all(actor.is_good for actor in actors) and bool(actors) == bool(last_act)

    def _spawn(self, part: Part) -> Child:
        return Child(part, self._logs, self._keep_open)

    def _try_to_spawn(self, part: Part) -> list[Child]:
        try:
            return [self._spawn(part)]
        except OSError as error:
            log.error("%s cannot be run: %s", part.name, error)
            return []

    def _tend(self) -> None:
        for tended in self._tended.values():
            if tended.due is None and tended.child.has_ended():
                self._mourn(tended)
            if tended.due is not None and time.monotonic() >= tended.due:
                self._replace(tended)

    def _replace(self, tended: Tended) -> None:
        try:
            tended.child, tended.due = self._spawn(tended.part), None
        except OSError as error:  # no room on the disk, say; that passes
            log.error("%s cannot be started: %s", tended.part.name, error)
            tended.due = time.monotonic() + LONGEST_SECONDS
        else:
            log.info("%s runs again, as process %d", tended.part.name, tended.child.pid)
            self._changed()

    def _mourn(self, tended: Tended) -> None:
        child = tended.child
        if not tended.is_ready:
            raise StartFailed(tended.part.name, child.last_words() or child.exit, f"see {child.log}")
        now = time.monotonic()
        tended.due = now + tended.backoff.after(now - child.started)
        log.warning("%s %s (see %s); starting it again", tended.part.name, child.exit, child.log)

    def _probe(self, tended: Tended, begun: float) -> None:
        part = tended.part
        try:
            part.ready()
            tended.is_ready = True
            log.debug("%s is ready", part.name)
        except NotReady as error:
            if time.monotonic() > begun + part.ready_seconds:
                raise StartFailed(part.name, f"not ready within {part.ready_seconds:.0f} s, {error}",
                                  f"see {tended.child.log}") from error


def _end(children: Sequence[Child], seconds: float, spare: Part | None = None) -> None:
    """Ask them to end, but for the spared one; kill them and what is left of their sessions when time is up."""
    deadline = time.monotonic() + seconds
    for child in children:
        if child.part is not spare:
            child.send(child.part.stop_signal)
    late = _left(children, deadline)
    for child in late:
        log.warning("%s did not end when asked and is killed", child.part.name)
        child.kill()
    if late:
        _left(late, time.monotonic() + DYING_SECONDS)


def _left(children: Sequence[Child], deadline: float) -> list[Child]:
    """Those that have not ended by then; returns as soon as all have."""
    left = list(children)
    while True:
        for child in [child for child in left if child.has_ended()]:
            left.remove(child)
            log.debug("%s %s", child.part.name, child.exit)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(LOOK_SECONDS)
