"""How soon a subscriber hears of a committed transition, and how many of them eight writers commit on one simulation;
on the disk as it is, and on one slowed to 3 ms by Postgres' own commit_delay."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import psycopg2

from benchmarks.report import Figure, quantile
from shared.domain.moves import Move, Submission
from shared.domain.specs import Program
from shared.domain.states import Kind, State
from shared.lifecycle import Lifecycle
from shared.messaging.announcer import Announcer, Work
from shared.messaging.pubsub import PubSub, connect
from shared.messaging.queue import Queue, make_celery
from shared.persistence.database import Database
from tests.stack import Stack

WRITERS = 8
JOBS = 1600
PAUSE_SECONDS = 0.04  # between the moves of one writer, where latency is measured


def measure(stack: Stack) -> Iterator[Figure]:
    """Runs on the stack's own servers, with its processes asleep."""
    for name, delay in (("", 0), (", disk slowed to 3 ms", 3000)):
        configure(stack, delay)
        rate, latencies = run(stack, PAUSE_SECONDS)
        yield Figure(f"transition committed -> subscriber, p99{name}", quantile(latencies, 0.99), "ms", at_most=50,
                     detail=f"p50 {quantile(latencies, 0.5):.1f} ms, at {rate:.0f} transitions per second")
        rate, latencies = run(stack, 0)
        yield Figure(f"transitions per second, 8 writers, one simulation{name}", rate, "per second",
                     detail=f"subscriber p99 {quantile(latencies, 0.99):.1f} ms at that rate")
    configure(stack, 0)


def configure(stack: Stack, commit_delay: int) -> None:
    """Slow every commit by so many microseconds, whether or not others commit."""
    connection = psycopg2.connect(stack.ready["database_url"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET commit_siblings = 0")
        cursor.execute(f"ALTER SYSTEM SET commit_delay = {commit_delay}")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()


class Ears:
    """A subscriber that notes when it first heard of each job in each state."""

    def __init__(self, stack: Stack) -> None:
        self.heard: dict[tuple[str, str], float] = {}
        self.ready = threading.Event()
        self._done = threading.Event()
        self._pubsub = PubSub(connect(stack.ready["redis_url"]))
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> "Ears":
        self._thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _listen(self) -> None:
        for messages in self._pubsub.listen(0.2):
            self.ready.set()
            for event in map(json.loads, messages):
                if event["job"]:
                    self.heard.setdefault((event["job"], event["state"]), time.perf_counter())
            if self._done.is_set():
                return


def run(stack: Stack, pause_seconds: float) -> tuple[float, list[float]]:
    """Transitions per second, and ms from each commit until it was heard."""
    url = stack.ready["database_url"].replace("postgresql:", "postgresql+psycopg2:")
    database = Database(url, pool_size=WRITERS + 2, application="bench")
    announcer = Announcer(Queue(make_celery(stack.ready["redis_url"])), PubSub(connect(stack.ready["redis_url"])))
    jobs = submit(stack, Lifecycle(database, announcer, dict.fromkeys(Kind, 0)))
    committed: dict[str, float] = {}

    def note(lifecycle: Lifecycle, work: Sequence[Work]) -> None:
        now = time.perf_counter()
        committed.update((str(each.job), now) for each in work)
        lifecycle.settle(work)

    def write(mine: Sequence[UUID]) -> None:
        lifecycle = Lifecycle(database, announcer, dict.fromkeys(Kind, 0), after=lambda work: note(lifecycle, work))
        for job in mine:
            lifecycle.transition_many([Move(job, 1, State.QUEUED, State.CANCELLED)], actor="bench")
            time.sleep(pause_seconds)

    with Ears(stack) as ears:
        threads = [threading.Thread(target=write, args=(jobs[place::WRITERS],)) for place in range(WRITERS)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        while not all((job, State.CANCELLED) in ears.heard for job in committed):
            time.sleep(0.01)
    database.close()
    return len(jobs) / seconds, [1000 * (ears.heard[job, State.CANCELLED] - at) for job, at in committed.items()]


def submit(stack: Stack, lifecycle: Lifecycle) -> list[UUID]:
    connection = psycopg2.connect(stack.ready["database_url"])
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM users LIMIT 1")
        owner = UUID(cursor.fetchone()[0])
        simulation = uuid4()
        lifecycle.submit(Submission(simulation, "bench", owner, "team", {}, "bench", 1, {}, Program(command=("x",)),
                                    1, 0, None, [({}, place) for place in range(JOBS)]))
        cursor.execute("SELECT id FROM jobs WHERE simulation = %s ORDER BY index", (str(simulation),))
        found = [UUID(row[0]) for row in cursor.fetchall()]
    connection.close()
    return found
