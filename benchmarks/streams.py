"""A thousand clients that follow everything, on one web process: whether each hears of every event, how soon, what that
costs in memory, and what it does to a request meanwhile. And polls of a status beside a bare JSON route."""

import json
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg2

from benchmarks.report import Figure, quantile
from benchmarks.submissions import bare_web, web_memory, workers_asleep
from benchmarks.transitions import submit
from shared.domain.moves import Move
from shared.domain.states import Kind, State
from shared.lifecycle import Lifecycle
from shared.messaging.announcer import Announcer, Work
from shared.messaging.pubsub import PubSub, connect
from shared.messaging.queue import Queue, make_celery
from shared.persistence.database import Database
from tests.stack import Stack

CLIENTS = 1000
EVENTS = 200
EVENTS_PER_SECOND = 10
LOOKS_PER_SECOND = 50
IDLE_SECONDS = 8.0  # before and after
POLLERS = 100
POLL_SECONDS = 5.0
ROUNDS = 3
LENGTH = re.compile(rb"^content-length: *(\d+)", re.MULTILINE | re.IGNORECASE)


def measure(stack: Stack) -> Iterator[Figure]:
    """Delays in ms from commit to client, memory in MiB, and ratios."""
    with workers_asleep(stack):
        yield from measure_streams(stack)
        yield from measure_polls(stack)


def measure_streams(stack: Stack) -> Iterator[Figure]:
    with _writing(stack) as (lifecycle, jobs, commits):
        path = _status_path(stack, jobs[0])
        idle = _look(stack, path, IDLE_SECONDS)
        before, looks = web_memory(stack), []
        with _listening(stack) as listeners:
            looking = threading.Thread(
                target=lambda: looks.extend(_look(stack, path, EVENTS / EVENTS_PER_SECOND)))
            looking.start()
            for job in jobs[:EVENTS]:
                lifecycle.transition_many([Move(job, 1, State.QUEUED, State.CANCELLED)], actor="bench")
                time.sleep(1 / EVENTS_PER_SECOND)
            looking.join()
            heard = _account(stack, listeners, commits)
            grown = web_memory(stack) - before
        idle += _look(stack, path, IDLE_SECONDS)
    name = f"{CLIENTS} streams"
    yield Figure(f"{name}: deliveries missing or doubled", heard["missing"] + heard["twice"], "events", at_most=0,
                 detail=f"{heard['delivered']} delivered, {EVENTS_PER_SECOND} events per second")
    yield Figure(f"{name}: committed -> client, p99", quantile(heard["delays"], 0.99), "ms", at_most=500,
                 detail=f"p50 {quantile(heard['delays'], 0.5):.0f} ms, max {heard['delays'][-1]:.0f} ms")
    yield Figure(f"{name}: memory of web grows by", grown / (1 << 20), "MiB", at_most=200,
                 detail=f"from {before >> 20} MiB")
    yield Figure(f"{name}: GET of a status meanwhile / idle, p95", quantile(looks, 0.95) / quantile(idle, 0.95), "x",
                 at_most=2, detail=f"{quantile(looks, 0.95):.1f} against {quantile(idle, 0.95):.1f} ms; p50 "
                                   f"{quantile(looks, 0.5):.1f} against {quantile(idle, 0.5):.1f} ms")


def measure_polls(stack: Stack) -> Iterator[Figure]:
    """The same requests to both in turns, for a machine is not equally quick at all times; the best of each."""
    with _writing(stack) as (_, jobs, _commits):
        path = _status_path(stack, jobs[0])
    headers = {"Authorization": stack.http.headers["Authorization"]}
    known = headers | {"If-None-Match": stack.http.get(path.removeprefix("/api/v1")).headers["ETag"]}
    theirs, ours, same = [], [], []
    with bare_web(stack) as bare:
        for _ in range(ROUNDS):
            theirs.append(_polls_per_second(bare, "/status", known, 200))
            ours.append(_polls_per_second(stack.ready["url"], path, headers, 200))
            same.append(_polls_per_second(stack.ready["url"], path, known, 304))
    for status, rate in ((200, max(ours)), (304, max(same))):
        yield Figure(f"polls of a status, {status} / a bare JSON route", rate / max(theirs), "x", at_least=0.6,
                     detail=f"{rate:.0f} against {max(theirs):.0f} per second, {POLLERS} clients")


@contextmanager
def _writing(stack: Stack) -> Iterator[tuple[Lifecycle, list[UUID], dict[str, float]]]:
    """A lifecycle of this process, jobs that wait, and when each move of one was committed."""
    database = Database(stack.ready["database_url"].replace("postgresql:", "postgresql+psycopg2:"), pool_size=2,
                        application="bench")
    announcer = Announcer(Queue(make_celery(stack.ready["redis_url"])), PubSub(connect(stack.ready["redis_url"])))
    commits: dict[str, float] = {}

    def note(work: Sequence[Work]) -> None:
        commits.update((str(each.job), time.perf_counter()) for each in work)
        lifecycle.settle(work)

    lifecycle = Lifecycle(database, announcer, dict.fromkeys(Kind, 0), after=note)
    yield lifecycle, submit(stack, lifecycle), commits
    database.close()


def _status_path(stack: Stack, job: UUID) -> str:
    return f"/api/v1/simulations/{stack.get(f'/instances/{job}')['simulation']}/status"


def _look(stack: Stack, path: str, seconds: float) -> list[float]:
    """ms that each GET took, one client with one connection, so many a second."""
    found, deadline = [], time.perf_counter() + seconds
    with closing(_connect(stack.ready["url"])) as connection:
        request = _request(path, {"Authorization": stack.http.headers["Authorization"]})
        while (began := time.perf_counter()) < deadline:
            connection.sendall(request)
            _receive(connection, 200)
            found.append(1000 * (time.perf_counter() - began))
            time.sleep(1 / LOOKS_PER_SECOND)
    return found


def _polls_per_second(url: str, path: str, headers: dict[str, str], status: int) -> float:
    """What some clients with a connection each get answered in some seconds, each asking again at once."""
    request, count = _request(path, headers), 0
    with selectors.DefaultSelector() as selector, ExitStack() as undo:
        for _ in range(POLLERS):
            connection = undo.enter_context(_connect(url))
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, connection)
        deadline = time.perf_counter() + POLL_SECONDS
        while time.perf_counter() < deadline:
            for key, _ in selector.select(1):
                _receive(key.data, status)
                key.data.sendall(request)
                count += 1
    return count / POLL_SECONDS


def _connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=30)


def _request(path: str, headers: dict[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _receive(connection: socket.socket, status: int) -> None:
    """A whole answer, by a client that costs as little as can be."""
    answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 %d " % status):
        raise RuntimeError(answer.decode())
    head, _, body = answer.partition(b"\r\n\r\n")
    missing = int((LENGTH.search(head) or [0, 0])[1]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536))


@contextmanager
def _listening(stack: Stack) -> Iterator[subprocess.Popen[str]]:
    """The clients, all connected."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.listeners", stack.ready["url"] + "/api/v1/events", str(CLIENTS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        print(stack.http.headers["Authorization"], file=process.stdin, flush=True)
        assert process.stdout.readline() == "connected\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def _account(stack: Stack, listeners: subprocess.Popen[str], commits: dict[str, float]) -> dict[str, Any]:
    """What the clients heard of what was committed."""
    with closing(psycopg2.connect(stack.ready["database_url"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT number, job FROM events WHERE job = ANY(%s::uuid[])", (list(commits),))
        committed = {number: commits[str(job)] for number, job in cursor.fetchall()}
    said, _ = listeners.communicate(json.dumps(committed) + "\n")
    heard: dict[str, Any] = json.loads(said)
    return heard
