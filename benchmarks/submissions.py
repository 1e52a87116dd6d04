"""How fast simulations are accepted, one by one and ten thousand at once, beside a bare view and a bare insert."""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from benchmarks.report import Figure
from tests.stack import Stack, frozen
from tests.waiting import until

CLIENTS = 8
SECONDS = 5.0
SWEEP = 10_000
ROUNDS = 10  # of such sweeps


def measure(stack: Stack) -> Iterator[Figure]:
    """Single submissions per second against the bare view; a sweep against the bare insert; web's memory."""
    template = stack.template("/bin/true")
    with workers_asleep(stack), bare_web(stack) as bare:
        token = stack.http.headers["Authorization"]
        theirs = requests_per_second(bare, "/", {}, "")
        ours = requests_per_second(stack.ready["url"], "/api/v1/simulations", {"template": template}, token)
    yield Figure("single submissions per second / bare Flask view", ours / theirs, "x", at_least=0.4,
                 detail=f"{ours:.0f} against {theirs:.0f} per second, {CLIENTS} clients")
    with workers_asleep(stack):
        yield from measure_sweep(stack, template)


def measure_sweep(stack: Stack, template: str) -> Iterator[Figure]:
    before = web_memory(stack)
    ours, theirs, peaks = [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        simulation = stack.submit(template, repeats=SWEEP)
        ours.append(time.perf_counter() - began)
        peaks.append(web_memory(stack))
        theirs.append(bare_insert(stack, simulation))
        stack.post(f"/simulations/{simulation}/cancel", status=202)
    mine, bare = statistics.median(ours), statistics.median(theirs)
    yield Figure("a sweep of 10,000 accepted / bare insert", mine / bare, "x", at_most=3,
                 detail=f"{1000 * mine:.0f} ms against {1000 * bare:.0f} ms")
    half = peaks[ROUNDS // 2 - 1]
    yield Figure(f"memory of web after {ROUNDS} such sweeps / after {ROUNDS // 2}", peaks[-1] / half, "x", at_most=1.05,
                 detail=f"MiB: {before >> 20} before, {peaks[0] >> 20} after one, {half >> 20}, {peaks[-1] >> 20}")


def requests_per_second(url: str, path: str, body: dict[str, str], token: str) -> float:
    """What a few clients with a connection each get answered in some seconds."""
    payload, counts = json.dumps(body), [0] * CLIENTS
    headers = {"Content-Type": "application/json", "Authorization": token}
    deadline = time.perf_counter() + SECONDS

    def work(place: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        while time.perf_counter() < deadline:
            connection.request("POST", path, payload, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 202, answer.status
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(place,)) for place in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


@contextmanager
def workers_asleep(stack: Stack) -> Iterator[None]:
    """Tasks are sent and nobody works on them, on either side: only accepting is measured."""
    pids = stack.pids()
    asleep = [frozen(pid) for main in [*pids["workers"], *pids["watchers"]] for pid in [*children(main), main]]
    for sleeper in asleep:
        sleeper.__enter__()
    try:
        yield
    finally:
        for sleeper in asleep:
            sleeper.__exit__(None, None, None)


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def bare_web(stack: Stack) -> Iterator[str]:
    """The bare view under the same server with the same flags; its URL."""
    execute(stack, "CREATE TABLE IF NOT EXISTS peer (id bigserial PRIMARY KEY, body text)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"DATABASE_URL": stack.ready["database_url"], "REDIS_URL": stack.ready["redis_url"]}
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{port}",
         "--no-control-socket", "benchmarks.peers:make_web()"],
        env=environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/")
    except OSError:
        return False
    finally:
        connection.close()
    return True


def bare_insert(stack: Stack, simulation: str) -> float:
    """Seconds to insert and commit the same rows once more, in one statement, into a table of the same shape."""
    execute(stack, "DROP TABLE IF EXISTS peer_jobs")
    execute(stack, "CREATE TABLE peer_jobs (LIKE jobs INCLUDING ALL)")
    sets = json.dumps([({}, place) for place in range(SWEEP)])
    began = time.perf_counter()
    execute(stack, """
        INSERT INTO peer_jobs (id, kind, simulation, index, parameters, seed, state)
        SELECT gen_random_uuid(), 'instance', %s, entry.place - 1, entry.value->0, (entry.value->>1)::bigint, 'QUEUED'
        FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS entry(value, place)""", simulation, sets)
    return time.perf_counter() - began


def execute(stack: Stack, statement: str, *values: str) -> None:
    """Run one statement as the stack's own user, and commit it."""
    connection = psycopg2.connect(stack.ready["database_url"])
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
    finally:
        connection.close()


def web_memory(stack: Stack) -> int:
    """Resident bytes of the process that answers."""
    (answering,) = children(stack.pids()["web"])
    return int(Path(f"/proc/{answering}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
