"""The life of one pod on a node, in a thread of its own: what the kubelet does with it from its binding to its end."""

import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.containers import Container, Image, Misconfigured
from tests.cluster.defaults import timestamp
from tests.cluster.ending import Ending, Hooks
from tests.cluster.spawner import Process
from tests.cluster.store import Version
from tests.cluster.volumes import Body, has_unknown_volume, make_volumes

if TYPE_CHECKING:
    from tests.cluster.node import Node

_FOREVER = 3600.0
_ADDRESSES = {"hostIP": "127.0.0.1", "podIP": "127.0.0.1"}


@dataclass(eq=False)
class Stop(Exception):
    """Ends a pod before its containers do. `grace` in seconds as Kubernetes counts. With a reason the pod is Failed
    when all have ended, and that is said of it."""

    grace: float
    reason: str = ""
    message: str = ""
    lost_mains: bool = False


class Closed(Exception):
    """The node is no more."""


class PodLife:
    """`tell` may be called from any thread: with a word to be done on the pod's own."""

    def __init__(self, node: "Node", pod: Version, folder: Path) -> None:
        self.node, self.pod, self.folder = node, pod, folder
        spec = pod.body["spec"]
        seen = pod.body | {"status": {**pod.body["status"], **_ADDRESSES}}
        self.inits = [Container(seen, each, folder, is_init=True) for each in spec.get("initContainers", [])]
        self.mains = [Container(seen, each, folder, is_init=False) for each in spec["containers"]]
        self.sidecars = [container for container in self.inits if container.is_sidecar]
        self.has_ended = False
        self.logs_lost = False
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._starts: dict[Container, float] = {}  # when to try
        self._tries: Counter[tuple[Container, str]] = Counter()
        self._hooks = Hooks()
        self._started_at = timestamp()
        self._began = time.monotonic()
        self._ending: Ending | None = None
        self._may_restart = True
        self._heard_grace: int | None = None
        self._reporters: list[threading.Thread] = []
        self._initialized = not self.inits
        self._final: Body = {}  # phase, and what is said of it
        self._thread = threading.Thread(target=self._live, name=pod.key[2], daemon=True)

    @property
    def containers(self) -> list[Container]:
        return [*self.inits, *self.mains]

    def container(self, name: str) -> Container:
        return next(container for container in self.containers if container.name == name)

    def start(self) -> None:
        self.see(self.pod)
        self._thread.start()

    def tell(self, word: Callable[[], None]) -> None:
        self._inbox.put(word)

    def stop(self, stop: Stop) -> None:
        def interrupt() -> None:
            raise stop

        self.tell(interrupt)

    def see(self, pod: Version) -> None:
        """The object has changed; a deletion is heard of here."""
        def look() -> None:
            before, self.pod = self._heard_grace, pod
            self._heard_grace = pod.body["metadata"].get("deletionGracePeriodSeconds")
            if self._heard_grace not in (None, before):
                raise Stop(self._heard_grace or self.node.delays.forced)

        self.tell(look)

    def close(self) -> None:
        """Kill all processes and end the thread."""
        def leave() -> None:
            raise Closed

        self.tell(leave)
        self._thread.join()

    def _live(self) -> None:
        try:
            self._run_until_stopped()
            self._finish()
        except Closed:
            pass
        except Exception as error:  # noqa: BLE001 - it would be lost with the thread: the node shows it when closed
            self.node.errors.append(error)
        finally:
            self.has_ended = True
            self._hooks.close()
            for container in self.containers:
                if container.process is not None:
                    container.process.close()
            for reporter in self._reporters:
                reporter.join()

    def _run_until_stopped(self) -> None:
        try:
            self._run()
        except Stop as stop:
            while True:
                try:
                    self._end_all(stop)
                    break
                except Stop as harder:
                    stop = Stop(harder.grace, stop.reason or harder.reason, stop.message or harder.message,
                                stop.lost_mains or harder.lost_mains)

    def _run(self) -> None:
        delays = self.node.delays
        for container in self.mains if not self.inits else []:
            container.wait_for("ContainerCreating")
        self._publish()
        if has_unknown_volume(self.pod.body):
            self._wait(lambda: False)
        make_volumes(self.pod.body, self.folder / "volumes")
        for container in self.inits:
            self._starts[container] = self._now() + delays.start
            self._wait(partial(self._has_passed, container))
            if container.is_init and container.exit_code:
                return self._end_naturally()
        self._initialized = True
        for index, container in enumerate(self.mains):
            container.wait_for("ContainerCreating")
            self._starts[container] = self._now() + delays.start * (index + 1)
        self._wait(lambda: all(container.exit_code is not None and container not in self._starts
                               for container in self.mains))
        return self._end_naturally()

    def _has_passed(self, container: Container) -> bool:
        """Whether the next init container may follow."""
        if container.is_sidecar:
            return container.is_running
        return container.exit_code is not None and container not in self._starts

    def _end_naturally(self) -> None:
        self._forbid_starts()
        self._publish()
        self._pause(self.node.delays.sidecar_stop)
        self._end_containers(self.pod.body["spec"]["terminationGracePeriodSeconds"])

    def _forbid_starts(self) -> None:
        self._may_restart = False
        self._starts.clear()

    def _end_all(self, stop: Stop) -> None:
        self._forbid_starts()
        if stop.reason:
            self._final = {"phase": "Failed", "reason": stop.reason, "message": stop.message}
        self._end_containers(stop.grace)
        for container in self.mains if stop.lost_mains else []:
            container.lose()

    def _end_containers(self, grace: float) -> None:
        """SIGTERM in order, SIGKILL after the grace."""
        for container in [*self.mains, *self.inits]:
            if container.is_running:
                self._hooks.begin(container, self._start_hook)
        others = [container for container in self.inits if container.is_init]
        second = self.node.delays.second
        deadline = self._now() + grace * second
        if self._ending is not None:  # a grace is only ever shortened
            deadline = min(deadline, self._ending.deadline)
        ending = self._ending = Ending([*self.mains, *others], self.sidecars, deadline, 2 * second)
        self._wait(lambda: ending.is_done)

    def _finish(self) -> None:
        """The terminal phase; then an object that is being deleted goes."""
        with contextlib.suppress(Stop):  # nothing is left to be stopped
            self._pause(self.node.delays.terminal)
        for container in self.containers:
            if "waiting" in container.state and "terminated" in container.last_state:
                container.state = container.last_state
        codes = [container.exit_code for container in [*self.mains, *self.inits] if not container.is_sidecar]
        self._final = self._final or {"phase": "Failed" if any(code != 0 for code in codes) else "Succeeded"}
        self.has_ended = True
        self._publish()

    def _now(self) -> float:
        return time.monotonic()

    def _pause(self, seconds: float) -> None:
        end = self._now() + seconds
        self._wait(lambda: self._now() >= end, until=end)

    def _wait(self, is_over: Callable[[], bool], until: float | None = None) -> None:
        """Do what is due and what is told until `is_over`."""
        while not is_over():
            now = self._now()
            self._start_due(now)
            deadline = self._check_deadline(now)
            again = self._ending.advance(now, self._hooks.has_ended) if self._ending is not None else None
            if is_over():
                return
            times = [time for time in (*self._starts.values(), deadline, again, until) if time is not None]
            try:
                self._inbox.get(timeout=max(0.0, min(times, default=now + _FOREVER) - self._now()))()
            except queue.Empty:
                continue

    def _check_deadline(self, now: float) -> float | None:
        """When activeDeadlineSeconds will be over, as the object says now; Stop when they are."""
        seconds = self.pod.body["spec"].get("activeDeadlineSeconds")
        if seconds is None or self._final:
            return None
        deadline: float = self._began + seconds * self.node.delays.second
        if now < deadline:
            return deadline
        raise Stop(self.pod.body["spec"]["terminationGracePeriodSeconds"], "DeadlineExceeded",
                   "Pod was active on the node longer than the specified deadline")

    def _start_due(self, now: float) -> None:
        for container in [container for container, due in self._starts.items() if due <= now]:
            del self._starts[container]
            self._try_start(container)
            self._publish()

    def _try_start(self, container: Container) -> None:
        pulled = self.node.pull(container.spec["image"])
        if pulled is None:
            self._wait_for_image(container)
        elif pulled.seconds:
            self._starts[container] = self._now() + pulled.seconds
        else:
            self._run_container(container, pulled.image)

    def _wait_for_image(self, container: Container) -> None:
        image = container.spec["image"]
        if self._tries[container, "pull"]:
            self._retry(container, "pull", "ImagePullBackOff", f'Back-off pulling image "{image}"')
        else:
            self._retry(container, "pull", "ErrImagePull", f'failed to pull and unpack image "{image}": failed to '
                        f'resolve reference "{image}": {image}: not found')

    def _run_container(self, container: Container, image: Image) -> None:
        try:
            process = container.start(self.node.spawner, image)
        except Misconfigured as error:
            self._retry(container, "make", error.reason, str(error))
            return
        if process is None:
            self._settle(container)
        else:
            self._report(self._report_end, container, process)

    def _retry(self, container: Container, what: str, reason: str, message: str) -> None:
        container.wait_for(reason, message)
        self._starts[container] = self._now() + self._back_off(container, what)

    def _back_off(self, container: Container, what: str) -> float:
        delays = self.node.delays.back_off
        self._tries[container, what] += 1
        return delays[min(self._tries[container, what], len(delays)) - 1]

    def _report(self, report: Callable[[Container, Process], None], container: Container, process: Process) -> None:
        thread = threading.Thread(target=report, args=(container, process), daemon=True)
        self._reporters.append(thread)
        thread.start()

    def _report_end(self, container: Container, process: Process) -> None:
        code = process.wait()
        time.sleep(self.node.delays.exit_seen)
        if code is not None:
            self.tell(lambda: self._note_end(container, code))

    def _note_end(self, container: Container, code: int) -> None:
        container.end(code)
        self._hooks.end(container)
        self._settle(container)
        self._publish()

    def _settle(self, container: Container) -> None:
        """What follows from a container's end: another start, or nothing."""
        policy = self.pod.body["spec"]["restartPolicy"]
        again = policy != "Never" if container.exit_code else policy == "Always" and not container.is_init
        if not self._may_restart or not (container.is_sidecar or again):
            return
        wait = self._back_off(container, "restart")
        self._starts[container] = self._now() + wait
        if container.restarts:
            container.wait_for("CrashLoopBackOff", f"back-off {wait} s restarting failed container={container.name}")

    def _start_hook(self, container: Container) -> Process | None:
        hook = container.start_hook(self.node.spawner)
        if hook is not None:
            self._report(self._report_hook, container, hook)
        return hook

    def _report_hook(self, container: Container, hook: Process) -> None:
        hook.wait()
        self.tell(lambda: self._hooks.end(container))

    def _publish(self) -> None:
        self.node.publish(self)

    def status(self) -> dict[str, Any]:
        ready = all(container.is_running for container in [*self.mains, *self.sidecars])
        inits = [container.status() for container in self.inits]
        return {
            "phase": self._phase(), **_ADDRESSES, "podIPs": [{"ip": _ADDRESSES["podIP"]}],
            "startTime": self._started_at, **(self._final if self.has_ended else {}),
            **({"initContainerStatuses": inits} if inits else {}),
            "containerStatuses": [container.status() for container in self.mains],
            "conditions": {"Initialized": self._initialized, "PodReadyToStartContainers": True,
                           "ContainersReady": ready, "Ready": ready}}

    def _phase(self) -> str:
        begun = any(container.is_running or "terminated" in {**container.state, **container.last_state}
                    for container in self.mains)
        return "Running" if begun and self._initialized else "Pending"
