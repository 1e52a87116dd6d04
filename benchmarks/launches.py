"""From accepted to executing, beside raw Celery; and a thousand short instances beside a bare process pool."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Figure, quantile
from tests.stack import Stack
from tests.waiting import until

ROUNDS = 100
SHORT = 1000


def measure(stack: Stack, folder: Path) -> Iterator[Figure]:
    """Latencies in ms, one at a time on an idle stack; then throughput."""
    ours, raw = latencies(stack, folder)
    yield Figure("accepted -> executing, p50 / raw Celery + fork + exec", quantile(ours, 0.5) / quantile(raw, 0.5), "x",
                 at_most=3, detail=f"{quantile(ours, 0.5):.1f} ms against {quantile(raw, 0.5):.1f} ms")
    yield Figure("accepted -> executing, p99", quantile(ours, 0.99), "ms", at_most=250,
                 detail=f"raw {quantile(raw, 0.99):.1f} ms")
    rate, pool = short_instances(stack), pool_rate()
    yield Figure("1,000 short instances / bare process pool", rate / pool, "x",
                 detail=f"{rate:.1f} against {pool:.0f} per second")


def latencies(stack: Stack, folder: Path) -> tuple[list[float], list[float]]:
    """ms from the answer 202, and from the publishing of a bare task, until the program runs, which says so by its own
    clock. In turns, for a machine is not equally quick at all times."""
    template, said = stack.template("/bin/date", "+%s%N"), folder / "raw"
    ours, raw = [], []
    with raw_worker(stack):
        from benchmarks.peers import app  # noqa: PLC0415 - reads where the broker is when it is imported

        for round_ in range(ROUNDS + 1):
            before = _logged(stack)
            simulation = stack.submit(template)
            ours.append(_until_said(time.time_ns(), lambda known=before: list(_logged(stack) - known)))
            stack.ended(simulation)
            time.sleep(0.1)
            published = time.time_ns()
            app.send_task("peer.run", args=[str(said)], queue="peer")
            raw.append(_until_said(published, lambda line=round_: _lines(said)[line:]))
            time.sleep(0.1)
    return ours[1:], raw[1:]


def _until_said(began: int, look: Callable[[], list[str]]) -> float:
    return (int(until(look)[0]) - began) / 1e6


def _logged(stack: Stack) -> set[str]:
    """What programs of this stack have written, of those whose folders are still there."""
    return {line for log in (stack.data / "work" / "attempts").glob("*/.simyard/log") for line in _lines(log)}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except FileNotFoundError:
        return []


@contextmanager
def raw_worker(stack: Stack) -> Iterator[None]:
    os.environ |= {"REDIS_URL": stack.ready["redis_url"], "DATABASE_URL": stack.ready["database_url"]}
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "benchmarks.peers:app", "worker", "-c", "4", "-Q", "peer", "-n", "peer"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def short_instances(stack: Stack) -> float:
    """Instances per second from submit to all ended."""
    template = stack.template("/bin/true")
    began = time.perf_counter()
    simulation = stack.submit(template, repeats=SHORT)
    until(lambda: stack.get(f"/simulations/{simulation}/status")["state"] == "SUCCEEDED", seconds=600)
    return SHORT / (time.perf_counter() - began)


def pool_rate() -> float:
    """The same commands by as many threads as there are slots by default."""
    began = time.perf_counter()
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        list(pool.map(lambda _: subprocess.run(["/bin/true"], check=True), range(SHORT)))
    return SHORT / (time.perf_counter() - began)
