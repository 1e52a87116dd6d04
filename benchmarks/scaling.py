"""A bursty day of sweeps replayed through the workers' own HorizontalPodAutoscaler, which is told of the load that
/metrics says, or of the length of a list: how long the bursts take and what the workers cost. A simulation: no process
is started, and the same seed gives the same figures."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from benchmarks.autoscaler import SYNC_SECONDS, Autoscaler
from benchmarks.report import Figure
from tests.k8s.rendering import base_with

Deed = Callable[[], None]

METRIC = "simyard_queue_load"
SEED = 7
BURSTS = 12
GAP_SECONDS = 900.0  # on average between two bursts
SIZES = (100, 300, 1000, 3000)
MANY_SLOTS = 1000  # beside as many as base gives
RUN_SECONDS = (20.0, 180.0)
UPLOAD_SECONDS = 5.0  # on average, from a program's end to its recorder's word
# Of one task: on an API server and an object storage that have much else to do.
LAUNCH_SECONDS, COLLECT_SECONDS = 2.0, 1.0
WORKER_START_SECONDS = 20.0
REST_SECONDS = 7200.0  # after the last burst; workers that are not needed go in it


def measure() -> Iterator[Figure]:
    """Ratios of the one signal to the other."""
    objects = base_with("prometheus-adapter")
    spec = objects["HorizontalPodAutoscaler", "robot", "robot-worker"]["spec"]
    told = objects["ConfigMap", "robot", "robot-config"]["data"]
    bursts = trace(random.Random(SEED))
    for slots in (int(told["MAX_RUNNING_INSTANCES"]), MANY_SLOTS):
        load, messages, lists = (replay(spec, Yard(slots, int(told["WORKER_CONCURRENCY"]), spec["minReplicas"]),
                                        bursts, signal) for signal in (Yard.load, Yard.messages, Yard.lists))
        yield Figure(f"{slots} slots: time to drain a burst, by load / by list length",
                     load.mean_drain / messages.mean_drain, "x", at_most=1.05,
                     detail=f"{load.mean_drain:.0f} against {messages.mean_drain:.0f} s (by our own lists "
                            f"{lists.mean_drain:.0f} s); {BURSTS} bursts of {SIZES[0]} to {SIZES[-1]:,}")
        yield Figure(f"{slots} slots: pod-seconds of workers, by load / by list length",
                     load.pod_seconds / messages.pod_seconds, "x", at_most=1,
                     detail=f"{load.pod_seconds:,.0f} against {messages.pod_seconds:,.0f} (by our own lists "
                            f"{lists.pod_seconds:,.0f})")


@dataclass(frozen=True)
class Burst:
    """Instances submitted at once; each by the seconds that it runs and that its recorder uploads."""

    at: float
    instances: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Replayed:
    """How long each burst took from its submission to its last end, and what the workers cost."""

    drains: Sequence[float]
    pod_seconds: float

    @property
    def mean_drain(self) -> float:
        """Seconds."""
        return sum(self.drains) / len(self.drains)


def trace(chance: random.Random) -> list[Burst]:
    """Few small sweeps, some large ones, at no regular times."""
    at, found = 0.0, []
    for _ in range(BURSTS):
        at += chance.expovariate(1 / GAP_SECONDS)
        found.append(Burst(at, [(chance.uniform(*RUN_SECONDS), chance.expovariate(1 / UPLOAD_SECONDS))
                                for _ in range(chance.choice(SIZES))]))
    return found


def replay(spec: Mapping[str, Any], yard: "Yard", bursts: Sequence[Burst],
           signal: Callable[["Yard"], int]) -> Replayed:
    """The bursts in this yard, which has as many workers as the autoscaler wants that is told the signal."""
    scaler = Autoscaler(spec)
    last = [0.0] * len(bursts)

    def sync() -> None:
        yard.scale(scaler.evaluate(yard.now, yard.replicas, {METRIC: signal(yard)}))
        yard.later(SYNC_SECONDS, sync)

    def note(place: int) -> None:
        last[place] = yard.now

    for place, burst in enumerate(bursts):
        yard.later(burst.at, partial(yard.submit, burst.instances, partial(note, place)))
    yard.later(SYNC_SECONDS, sync)
    yard.run(bursts[-1].at + REST_SECONDS)
    if yard.live:
        raise RuntimeError(f"{yard.live} instances have not ended")
    return Replayed([end - burst.at for end, burst in zip(last, bursts, strict=True)], yard.pod_seconds)


class Yard:
    """Slots, tasks and workers of an installation, in a time of their own, which run() lets pass."""

    def __init__(self, slots: int, children: int, replicas: int) -> None:
        self.now = 0.0
        self.pod_seconds = 0.0
        self._slots, self._children = slots, children
        self._ready_at = [0.0] * replicas  # of each worker
        self._due: list[tuple[float, int, Deed]] = []
        self._order = count()
        self._waiting: deque[tuple[float, float, Deed]] = deque()
        self._tasks: deque[tuple[float, Deed]] = deque()
        self._busy = self._held = self._unstarted = self._collecting = 0

    @property
    def replicas(self) -> int:
        """Workers, those that are being started too."""
        return len(self._ready_at)

    @property
    def live(self) -> int:
        """Instances that have not ended."""
        return len(self._waiting) + self._held

    def load(self) -> int:
        """What /metrics says: starts due or under way, those that free slots would let in, and all in COLLECTING."""
        return self._unstarted + min(len(self._waiting), self._slots - self._held) + self._collecting

    def messages(self) -> int:
        """The length of a list that has a message for whatever waits, for a slot or for a worker: the usual way."""
        return len(self._waiting) + len(self._tasks)

    def lists(self) -> int:
        """The length of our own lists, where nothing is sent for what waits for a slot."""
        return len(self._tasks)

    def later(self, seconds: float, deed: Deed) -> None:
        """Do it in so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._order), deed))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= until:
            at, _, deed = heapq.heappop(self._due)
            self.pod_seconds += self.replicas * (at - self.now)
            self.now = at
            deed()
            self._take_tasks()

    def scale(self, replicas: int) -> None:
        """New workers take tasks when they have started; the newest go first, each when it has done what it does."""
        for _ in range(replicas - self.replicas):
            self._ready_at.append(self.now + WORKER_START_SECONDS)
            self.later(WORKER_START_SECONDS, lambda: None)
        del self._ready_at[replicas:]

    def submit(self, instances: Sequence[tuple[float, float]], ended: Deed) -> None:
        """Let them wait for slots; each says when it has ended."""
        self._waiting.extend((run, upload, ended) for run, upload in instances)
        self._admit()
        self._take_tasks()

    def _admit(self) -> None:
        while self._waiting and self._held < self._slots:
            run, upload, ended = self._waiting.popleft()
            self._held += 1
            self._unstarted += 1
            self._tasks.append((LAUNCH_SECONDS, partial(self._start, run, upload, ended)))

    def _start(self, run: float, upload: float, ended: Deed) -> None:
        self._unstarted -= 1
        self.later(run, partial(self._collect, upload, ended))

    def _collect(self, upload: float, ended: Deed) -> None:
        """Its end rings for the first look; the recorder's word, once it has uploaded, for the one that ends it."""
        self._collecting += 1
        self._tasks.append((0.0, lambda: None))
        self.later(upload, lambda: self._tasks.append((COLLECT_SECONDS, partial(self._end, ended))))

    def _end(self, ended: Deed) -> None:
        self._collecting -= 1
        self._held -= 1
        ended()
        self._admit()

    def _take_tasks(self) -> None:
        children = self._children * sum(at <= self.now for at in self._ready_at)
        while self._tasks and self._busy < children:
            seconds, deed = self._tasks.popleft()
            self._busy += 1
            self.later(seconds, partial(self._finish, deed))

    def _finish(self, deed: Deed) -> None:
        self._busy -= 1
        deed()
