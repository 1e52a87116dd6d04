"""Instances as pods, on an API server without nodes: what making one costs beside a bare loop of the same calls, how
soon what happens to a pod is a committed transition, what a life costs in calls, and five thousand live pods."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg2
from kubernetes import client, config

from benchmarks.kubelet import NAMESPACE, Kubelet, Server, job_of, serving
from benchmarks.report import Figure, quantile
from benchmarks.transitions import Ears
from shared.domain.specs import Program
from tests.stack import Stack
from tests.waiting import until
from workers.runtimes.base import Name, Run
from workers.runtimes.kubernetes.cluster import Cluster
from workers.runtimes.kubernetes.pods import Body, Site, manifest
from workers.runtimes.kubernetes.runtime import KubernetesRuntime
from workers.watcher import SWEEP_SECONDS

ROUNDS, EACH = 5, 200
SWEEP = 1000
MANY = 5000
CHANGES_PER_SECOND = 20
CHANGES_OF_MANY_PER_SECOND = 60
PATIENCE_SECONDS = 600.0
CREATE_SECONDS = 0.003  # with our own work as long as the 4.1 ms of a real API server
OURS = "patch pods status"  # by the hand that stands for kubelets
BARE_NAMESPACE = "robot-bare"
SITE = Site("robot", NAMESPACE, "worker:1", "http://127.0.0.1:1")


def measure(folder: Path) -> Iterator[Figure]:
    """Ratios; delays in ms from before a change of a pod until a subscriber has heard of what was committed for it."""
    with serving(folder / "cluster") as server:
        yield _creates(server)
    with serving(folder / "other", CREATE_SECONDS) as server, Stack(
            folder / "stack", "--workers", "2", RUNTIME="kubernetes", KUBECONFIG=str(server.kubeconfig),
            SIM_NAMESPACE=NAMESPACE, RECORDER_IMAGE="worker:1", COMMAND_IMAGE="reference:1", RESOLVE_IMAGES="false",
            MAX_RUNNING_INSTANCES=str(SWEEP + MANY)) as stack:
        kubelet = Kubelet(server, stack.ready["url"])
        yield from _sweep(server, stack, kubelet)
        yield from _many(server, stack, kubelet)


def _creates(server: Server) -> Figure:
    """In turns, for a machine is not equally quick at all times; the best of each."""
    runtime = KubernetesRuntime(SITE, Cluster(NAMESPACE, server.kubeconfig))
    ours, bare = [], []
    with _bare_pods(server) as create:
        for _ in range(ROUNDS):
            bare.append(_rate(create))
            ours.append(_rate(lambda run: runtime.start(run).go()))
    return Figure("pods made per second / a bare client loop", max(ours) / max(bare), "x", at_least=0.8,
                  detail=f"{max(ours):.0f} against {max(bare):.0f} per second")


def _rate(create: Callable[[Run], object], count: int = EACH) -> float:
    program = Program(command=("/bin/true",), image="reference:1")
    runs = [Run(Name(uuid4(), 1), "instance", program, {}, 1, "token", uuid4()) for _ in range(count)]
    began = time.perf_counter()
    for run in runs:
        create(run)
    return count / (time.perf_counter() - began)


@contextmanager
def _bare_pods(server: Server) -> Iterator[Callable[[Run], object]]:
    """Makes pods by the client alone, of manifests that are made once, in a namespace that nobody watches."""
    with config.new_client_from_config(str(server.kubeconfig)) as connection:
        core = client.CoreV1Api(connection)
        core.create_namespace({"metadata": {"name": BARE_NAMESPACE, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted"}}})
        body = manifest(Run(Name(uuid4(), 1), "instance", Program(command=("/bin/true",), image="reference:1"), {}, 1,
                            "token", uuid4()), Site("robot", BARE_NAMESPACE, "worker:1", "http://127.0.0.1:1"))

        def create(run: Run) -> object:
            named = body | {"metadata": body["metadata"] | {"name": str(run.name)}}
            return core.create_namespaced_pod(BARE_NAMESPACE, named, _preload_content=False).data

        yield create


def _sweep(server: Server, stack: Stack, kubelet: Kubelet) -> Iterator[Figure]:
    """The life of a thousand pods."""
    with _bare_pods(server) as create:
        bare = SWEEP / _rate(create, SWEEP)
    before = server.calls()
    took, simulation = _started(server, stack, SWEEP)
    yield Figure(f"a sweep of {SWEEP:,} as pods, two workers / a bare loop", took / bare, "x", at_most=1.25,
                 detail=f"{took:.1f} against {bare:.1f} s, {1000 * bare / SWEEP:.1f} ms a pod")
    pods = _made(kubelet, SWEEP)
    delays = _delays(stack, pods, "RUNNING", kubelet.run, CHANGES_PER_SECOND)
    yield _delay(f"{SWEEP:,} live pods: started -> committed and heard, p99", delays)

    def end(pod: Body) -> None:
        kubelet.end(pod)
        kubelet.tell_facts(pod)
        kubelet.finish(pod)

    delays = _delays(stack, pods, "COLLECTING", end, CHANGES_PER_SECOND)
    yield _delay(f"{SWEEP:,} live pods: ended -> committed and heard, p99", delays)
    until(lambda: stack.get(f"/simulations/{simulation}/status")["state"] == "SUCCEEDED", seconds=PATIENCE_SECONDS)
    until(lambda: not kubelet.pods("Pending") + kubelet.pods("Running") + kubelet.pods("Succeeded"))
    calls = _since(server, before)
    lives = {name: count for name, count in calls.items() if name not in ("list pods", "watch pods", OURS)}
    yield Figure("calls of the API server per life of an instance", sum(lives.values()) / SWEEP, "calls", at_most=5,
                 detail=", ".join(f"{name} {count / SWEEP:.2f}" for name, count in lives.items()))


def _many(server: Server, stack: Stack, kubelet: Kubelet) -> Iterator[Figure]:
    """Thousands that live, and change one after another."""
    took, _ = _started(server, stack, MANY)
    pods = _made(kubelet, MANY)
    (watcher,) = stack.pids()["watchers"]
    before, cpu, began = server.calls(), _cpu_seconds(watcher), time.monotonic()
    with _Sweeps(stack) as sweeps:
        delays = _delays(stack, pods, "RUNNING", kubelet.run, CHANGES_OF_MANY_PER_SECOND)
        busy, seconds = _cpu_seconds(watcher) - cpu, time.monotonic() - began
    calls = {name: count for name, count in _since(server, before).items() if name != OURS}
    name = f"{MANY:,} live pods, {CHANGES_OF_MANY_PER_SECOND} changes a second"
    yield _delay(f"{name}: p99", delays, at_most=1000)
    yield Figure(f"{name}: longest from sweep to sweep", max(sweeps.gaps), "s", at_most=2 * SWEEP_SECONDS,
                 detail=f"median {quantile(sweeps.gaps, 0.5):.2f} s; made in {took:.0f} s")
    yield Figure(f"{name}: CPU of the watcher", busy / seconds, "cores", at_most=0.8,
                 detail=f"{busy:.1f} of {seconds:.0f} s")
    yield Figure(f"{name}: calls besides those of starts and ends",
                 60 * sum(calls.get(f"{verb} pods", 0) for verb in ("get", "list", "watch")) / seconds, "a minute",
                 at_most=60, detail=", ".join(f"{name} {count}" for name, count in calls.items()))


def _started(server: Server, stack: Stack, count: int) -> tuple[float, str]:
    """Seconds from the submission of so many instances until a pod was asked for each, and the simulation."""
    template = stack.template("/bin/true", limits={"run_seconds": 3600})
    known = server.calls().get("create pods", 0)
    began = time.perf_counter()
    simulation = stack.submit(template, repeats=count)
    until(lambda: server.calls()["create pods"] >= known + count, seconds=PATIENCE_SECONDS)
    return time.perf_counter() - began, simulation


def _made(kubelet: Kubelet, count: int) -> list[Body]:
    """The pods that are to be started; the last creates may have been asked for and not yet done."""
    return until(lambda: len(found := kubelet.pods("Pending")) == count and found)


def _delays(stack: Stack, pods: Sequence[Body], state: str, change: Callable[[Body], None],
            rate: float) -> list[float]:
    """ms from each change until it was heard that its job is in this state. They begin at fixed times."""
    begun: dict[str, float] = {}
    with Ears(stack) as ears:
        first = time.perf_counter()
        for place, pod in enumerate(pods):
            time.sleep(max(0.0, first + place / rate - time.perf_counter()))
            begun[job_of(pod)] = time.perf_counter()
            change(pod)
        until(lambda: all((job, state) in ears.heard for job in begun))
    return [1000 * (ears.heard[job, state] - at) for job, at in begun.items()]


def _delay(name: str, delays: Sequence[float], at_most: float = 100) -> Figure:
    return Figure(name, quantile(delays, 0.99), "ms", at_most=at_most,
                  detail=f"p50 {quantile(delays, 0.5):.0f} ms, max {max(delays):.0f} ms")


class _Sweeps:
    """How far apart the sweeps of the leading watcher begin, by its lease, which it renews before each."""

    def __init__(self, stack: Stack) -> None:
        self.gaps: list[float] = []
        self._url = stack.ready["database_url"]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "_Sweeps":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        known = None
        with closing(psycopg2.connect(self._url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not self._over.wait(0.05):
                cursor.execute("SELECT until FROM leases WHERE name = 'watcher'")
                (now,) = cursor.fetchone()
                if known is not None and now != known:
                    self.gaps.append((now - known).total_seconds())
                known = now


def _since(server: Server, before: Mapping[str, int]) -> dict[str, int]:
    """The calls since then."""
    now = server.calls()
    return {name: now[name] - before.get(name, 0) for name in now if now[name] > before.get(name, 0)}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
