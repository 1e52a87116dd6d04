"""How long a page far down a list of a million jobs takes beside the first one, and submissions meanwhile."""

import threading
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.report import Figure, quantile
from benchmarks.submissions import execute
from tests.stack import Stack

SIMULATIONS = 10_000
EACH = 100
PAGE = 1_000
TURNS = 40
PER_SECOND = 20
SUBMISSIONS = 200
INSTANCES = 100


def measure(stack: Stack) -> Iterator[Figure]:
    """Leaves the million in the stack's database; nothing else is measured after it."""
    template = stack.template("/bin/true")
    fill(stack)
    for path in ("/instances", "/simulations?label=bench:yes"):
        first, far = pages(stack, path, PAGE if path == "/instances" else 150)
        yield Figure(f"page {PAGE if path == '/instances' else 150} of {path} / page 1, {SIMULATIONS * EACH:,} jobs",
                     far / first, "x", at_most=1.5, detail=f"{1000 * far:.1f} against {1000 * first:.1f} ms")
    latencies = submit_steadily(stack, template)
    yield Figure(f"POST of {INSTANCES} instances, {PER_SECOND} a second, p99", 1000 * quantile(latencies, 0.99), "ms",
                 at_most=200, detail=f"p50 {1000 * median(latencies):.0f} ms")


def fill(stack: Stack) -> None:
    """A million jobs that have ended, of ten thousand simulations."""
    execute(stack, f"""
        INSERT INTO simulations (id, name, owner, visibility, labels, template, template_version, spec, program, seed,
                                 priority, total, state, counts, verdicts, created_at)
        SELECT gen_random_uuid(), 'old', (SELECT id FROM users LIMIT 1), 'team', '{{"bench": "yes"}}', 't', 1, '{{}}',
               '{{"limits": {{}}}}', 1, 0, {EACH}, 'SUCCEEDED', '{{"SUCCEEDED": {EACH}}}', '{{}}',
               now() - interval '1 day' + place * interval '1 second'
        FROM generate_series(1, {SIMULATIONS}) place""")
    execute(stack, f"""
        INSERT INTO jobs (id, kind, owner, simulation, index, parameters, seed, state, created_at, ended_at)
        SELECT gen_random_uuid(), 'instance', owner, id, place, '{{}}', place, 'SUCCEEDED', created_at, created_at
        FROM simulations CROSS JOIN generate_series(0, {EACH - 1}) place WHERE name = 'old'""")
    for table in ("simulations", "jobs"):
        execute(stack, f"ANALYZE {table}")


def pages(stack: Stack, path: str, number: int) -> tuple[float, float]:
    """Seconds of the first page and of page `number`, asked for in turns."""
    separator = "&" if "?" in path else "?"
    cursor = None
    for _ in range(number - 1):
        cursor = stack.get(path + (f"{separator}cursor={cursor}" if cursor else ""))["next"]
    times: dict[str, list[float]] = {path: [], f"{path}{separator}cursor={cursor}": []}
    for _ in range(TURNS):
        for each, taken in times.items():
            began = time.perf_counter()
            stack.get(each)
            taken.append(time.perf_counter() - began)
    first, far = times.values()
    return median(first), median(far)


def submit_steadily(stack: Stack, template: str) -> list[float]:
    """Seconds of each submission; they are begun at fixed times, however long those before take."""
    latencies: list[float] = []
    begin = time.perf_counter()

    def submit(due: float) -> None:
        stack.submit(template, repeats=INSTANCES)
        latencies.append(time.perf_counter() - due)

    threads = []
    for place in range(SUBMISSIONS):
        due = begin + place / PER_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        threads.append(threading.Thread(target=submit, args=(due,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return latencies
