"""The orderly end of a pod's containers: hooks, then main containers, then sidecars in reverse order."""

import signal
from collections.abc import Callable, Sequence

from tests.cluster.containers import Container
from tests.cluster.spawner import Process


class Ending:
    """Call `advance` after everything that happens until `is_done`. Times as of the machine's clock."""

    def __init__(self, mains: Sequence[Container], sidecars: Sequence[Container], deadline: float,
                 least: float) -> None:
        self._mains, self._sidecars = mains, list(reversed(sidecars))
        self.deadline = deadline
        self._least = least  # what a container gets whose turn comes when the grace is used up
        self._deadlines: dict[Container, float] = {}  # of those that were told

    @property
    def is_done(self) -> bool:
        return not any(container.is_running for container in [*self._mains, *self._sidecars])

    def advance(self, now: float, has_hook_ended: Callable[[Container], bool]) -> float | None:
        """Signal whoever's turn it is; when to call again at the latest, None when nothing is left to be timed."""
        for container in self._in_turn():
            if now >= self.deadline or has_hook_ended(container):
                self._tell(container, now)
        for container, deadline in self._deadlines.items():
            if container.is_running and now >= deadline and container.process is not None:
                container.process.signal(signal.SIGKILL)
        times = [deadline for deadline in [*self._deadlines.values(), self.deadline] if deadline > now]
        return min(times, default=None)

    def _in_turn(self) -> list[Container]:
        if running := [container for container in self._mains if container.is_running]:
            return running
        return [container for container in self._sidecars if container.is_running][:1]

    def _tell(self, container: Container, now: float) -> None:
        if container in self._deadlines or container.process is None:
            return
        if not container.told_to_stop:  # also when a second order to end the pod comes
            container.process.signal(signal.SIGTERM)
        container.told_to_stop = True
        self._deadlines[container] = self.deadline if container in self._mains else max(
            self.deadline, now + self._least)


class Hooks:
    """The preStop hooks of a pod, each run once."""

    def __init__(self) -> None:
        self._running: dict[Container, Process | None] = {}

    def begin(self, container: Container, start: Callable[[Container], Process | None]) -> None:
        if container not in self._running:
            self._running[container] = start(container)

    def end(self, container: Container) -> None:
        """It has ended, or its container has, and it with it."""
        hook = self._running.get(container)
        if hook is not None:
            hook.close()
            self._running[container] = None

    def has_ended(self, container: Container) -> bool:
        return self._running.get(container) is None

    def close(self) -> None:
        for container in self._running:
            self.end(container)
