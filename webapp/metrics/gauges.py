"""What is asked for at each scrape, as Prometheus families: the jobs from the database, failed calls from Redis, and
what this process knows of itself. What a part that is down would have said is left out."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.connections import Connections
from shared.domain.states import Kind, State
from shared.messaging.queue import COLLECT, QUEUES, START
from shared.settings import WebSettings
from webapp.metrics.readings import Reading
from webapp.queries import figures
from webapp.queries.figures import QUANTILES, Figures, PhaseTimes
from webapp.streams.hub import Hub

PHASES = ("waiting", "starting", "running", "collecting")

Labels = tuple[str, ...]
Values = Mapping[Any, float]  # by the labels' values, in their order


class Gauges(Collector):
    """Collected by the registry, a scrape at a time."""

    def __init__(self, settings: WebSettings, connections: Connections, hub: Hub) -> None:
        self._settings = settings
        self._database = connections.database
        self._hub = hub
        self._figures = Reading(self._read_figures)
        self._failures = Reading(connections.failures.read)

    def _read_figures(self) -> Figures:
        with self._database.snapshot() as tx:
            return figures.read(tx, self._settings.slots, self._settings.max_running_per_user)

    def collect(self) -> Iterator[Metric]:
        """Everything there is to tell now."""
        found, failures = self._figures.get(), self._failures.get()
        yield InfoMetricFamily("simyard", "The version and the runtime of this process.", {
            "version": version("simyard"), "runtime": self._settings.runtime})
        yield _gauge("simyard_up", "Whether the part answers this process.", ("part",),
                     {("database",): found is not None, ("redis",): failures is not None})
        yield from self._of_this_process()
        if found is not None:
            yield from self._of_the_jobs(found)
        if failures is not None:
            yield _counter("simyard_call_errors", "Calls to object storage and the runtime that failed, of all "
                           "processes since Redis was emptied last.", ("part", "call"), failures)

    def _of_this_process(self) -> Iterator[Metric]:
        yield _gauge("simyard_database_pool", "Connections of this process: how many it may have (size) and how many "
                     "are in use (checked_out).", ("pool", "state"), {
                         (pool, state): value for pool, counts in self._database.pools().items()
                         for state, value in zip(("size", "checked_out"), counts, strict=True)})
        yield _gauge("simyard_sse_streams", "Open event streams of this process.", (),
                     {(): self._hub.streams})

    def _of_the_jobs(self, found: Figures) -> Iterator[Metric]:
        yield _gauge("simyard_jobs", "Jobs there are, by what they do and their state.", ("kind", "state"), {
            (kind, state): found.jobs.get((kind, state), 0) for kind in Kind for state in State})
        yield _gauge("simyard_queue_load", "Tasks due or under way, which workers scale on. launch, playback, ingest: "
                     "admitted jobs whose start has not begun, and queued ones that free slots would let in at once "
                     "(none while admission is closed or paused). upkeep: jobs in STOPPING or COLLECTING.",
                     ("queue",), {(QUEUES[START[kind]],): found.launches[kind] for kind in Kind}
                     | {(QUEUES[COLLECT],): found.upkeep})
        yield _gauge("simyard_queue_depth", "Jobs that wait for a slot.", ("kind",), {
            (kind,): found.jobs.get((kind, State.QUEUED), 0) for kind in Kind})
        yield _gauge("simyard_slots", "How many jobs of the kind may be live at once.", ("kind",), {
            (kind,): self._settings.slots[kind] for kind in Kind})
        yield _gauge("simyard_slots_used", "How many are, from STARTING until COLLECTING is left.", ("kind",), {
            (kind,): found.used[kind] for kind in Kind})
        yield _gauge("simyard_watcher_leads", "1 while a watcher leads, 0 when none does; host: where the one is that "
                     "leads or led last.", ("host",), {(found.leader.host,): found.leader.leads})
        yield _gauge("simyard_recorders", "Recorders of the instances that ended within 15 minutes (the newest 2000 "
                     "jobs), each attempt's that ran, by how they ended: well; replaced, where one died and another "
                     "finished its work; failed, where something that was recorded did not arrive.", ("end",),
                     {(end,): attempts for end, attempts in found.recorders.items()})
        yield _phases(found.phases)


def _gauge(name: str, said: str, labels: Labels, values: Values) -> Metric:
    family = GaugeMetricFamily(name, said, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, said: str, labels: Labels, values: Values) -> Metric:
    family = CounterMetricFamily(name, said, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _phases(found: Iterable[PhaseTimes]) -> Metric:
    """A summary, though of a window: its count and sum go down again, which quantiles alone would not tell."""
    name = "simyard_job_phase_seconds"
    family = Metric(name, "Seconds of the jobs that ended within 15 minutes (the newest 2000) in each phase: waiting "
                    "(made to first start), starting, running, collecting (of the last attempt). Count and sum are of "
                    "that window, no counters.", "summary")
    known = {(times.kind, times.phase): times for times in found}
    for kind in Kind:
        for phase in PHASES:
            labels = {"kind": str(kind), "phase": phase}
            times = known.get((kind, phase), PhaseTimes(kind, phase, 0, 0.0, ()))
            for quantile, seconds in zip(QUANTILES, times.quantile_seconds, strict=False):
                family.add_sample(name, labels | {"quantile": str(quantile)}, seconds)
            family.add_sample(f"{name}_count", labels, times.jobs)
            family.add_sample(f"{name}_sum", labels, times.total_seconds)
    return family
