"""Ingest beside the bare hashing and putting of the same bytes; playback: how quickly it jumps, and what many viewers
cost its player."""

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.report import Figure, quantile
from tests.stack import Stack
from tests.waiting import until

SAMPLE = Path(__file__).parents[1] / "samples" / "diffdrive" / "diffdrive_0.db3"
GIB = 1 << 30
SEEKS = 60
VIEWERS = 50
LOOK_SECONDS = 8.0


def measure(stack: Stack, folder: Path, size: int = GIB) -> Iterator[Figure]:
    """Ratios of one run; memory in MiB; seeks in ms."""
    bag = folder / "long_0.db3"
    enlarge(bag, size)
    bare = bare_rate(stack, bag)
    bundle, ours, memory = ingest(stack, bag)
    yield Figure("ingest of 1 GiB / sha256 + multipart PUT of the same", ours / bare, "x", at_least=0.7,
                 detail=f"{ours / 1e6:.0f} against {bare / 1e6:.0f} MB/s")
    yield Figure("ingest, most memory of all its processes", memory / (1 << 20), "MiB", at_most=250)
    playback = stack.post("/playbacks", {"bundle": bundle["id"], "loop": True}, status=202)["id"]
    until(lambda: stack.get(f"/playbacks/{playback}")["position_ns"] is not None)
    times = seeks(stack, playback, bundle)
    yield Figure("seek in playback, p95", quantile(times, 0.95), "ms", at_most=100,
                 detail=f"p50 {quantile(times, 0.5):.0f} ms")
    one, many = cpu_of_player(stack, playback, 1), cpu_of_player(stack, playback, VIEWERS)
    yield Figure(f"player's CPU, {VIEWERS} viewers / one", many / one, "x", at_most=1.5,
                 detail=f"{many:.2f} against {one:.2f} s in {LOOK_SECONDS:.0f} s")
    stack.post(f"/playbacks/{playback}/control", {"action": "stop"}, status=200)


def enlarge(target: Path, size: int) -> None:
    """A recording of about `size` bytes: the sample, again and again, each time after the one before; static frames are
    told once, as in life."""
    target.write_bytes(SAMPLE.read_bytes())
    connection = sqlite3.connect(target, isolation_level=None)
    connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN")
    (span,) = connection.execute("SELECT max(timestamp) + 1 FROM messages").fetchone()
    (rows,) = connection.execute("SELECT max(id) FROM messages").fetchone()
    for number in range(1, size // SAMPLE.stat().st_size + 1):
        connection.execute("INSERT INTO messages SELECT id + ? * ?, topic_id, timestamp + ? * ?, data FROM messages "
                           "WHERE id <= ? AND topic_id <> (SELECT id FROM topics WHERE name = '/tf_static')",
                           (number, rows, number, span, rows))
    connection.execute("COMMIT")
    connection.close()


def bare_rate(stack: Stack, bag: Path) -> float:
    """Bytes per second of reading, hashing and putting in parts, and nothing else."""
    ticket = _announce(stack, bag, "bare")
    began, digest = time.perf_counter(), hashlib.sha256()
    with httpx.Client(timeout=60) as client, bag.open("rb") as file:
        for part in ticket["uploads"][0]["parts"]:
            data = file.read(ticket["part_size"])
            digest.update(data)
            client.put(part["url"], content=data).raise_for_status()
    return bag.stat().st_size / (time.perf_counter() - began)


def ingest(stack: Stack, bag: Path) -> tuple[dict[str, Any], float, int]:
    """The bundle; bytes per second from complete to READY; the most resident bytes of the processes that did it."""
    (bundle,) = [item["id"] for item in stack.get("/bundles", name="bare")["items"]]
    began = time.perf_counter()
    stack.post(f"/bundles/{bundle}/complete", status=202)
    with _most_memory() as peak:
        found = until(lambda: (seen := stack.get(f"/bundles/{bundle}"))["state"] not in ("UPLOADING", "INGESTING")
                      and seen, seconds=600)
    assert found["state"] == "READY", found["problems"]
    return found, bag.stat().st_size / (time.perf_counter() - began), peak[0]


def _announce(stack: Stack, bag: Path, name: str) -> dict[str, Any]:
    with bag.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    ticket: dict[str, Any] = stack.post("/bundles", {"name": name, "files": [
        {"name": bag.name, "size": bag.stat().st_size, "sha256": digest}]}, status=201)
    return ticket


@contextmanager
def _most_memory() -> Iterator[list[int]]:
    """The most that ingester and caged child held together while the block ran, looked at fifty times a second."""
    peak, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], sum(_resident(pid) for pid in os.listdir("/proc") if pid.isdigit()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peak
    finally:
        over.set()
        looking.join()


def _resident(pid: str) -> int:
    try:
        command = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        if not {b"workers.ingester", b"workers.bags", b"workers.recorder"} & set(command):
            return 0
        return int(Path("/proc", pid, "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def seeks(stack: Stack, playback: str, bundle: dict[str, Any]) -> list[float]:
    """ms from the order until a viewer sees the first message of the new place."""
    times: list[float] = []
    span = bundle["end_ns"] - bundle["start_ns"]
    with stack.http.stream("GET", f"/playbacks/{playback}/stream") as stream, \
            httpx.Client(base_url=stack.http.base_url, headers=stack.http.headers, timeout=30) as client:
        lines = (line for line in stream.iter_lines() if line.startswith("data: {\"topic"))
        for number in range(SEEKS):
            to = bundle["start_ns"] + span * (number * 37 % SEEKS) // SEEKS
            began = time.perf_counter()
            client.post(f"/playbacks/{playback}/control", json={"action": "seek", "to_ns": to}).raise_for_status()
            while not to <= json.loads(next(lines)[6:])["t_ns"] < to + span // SEEKS // 2:
                pass
            times.append(1000 * (time.perf_counter() - began))
            time.sleep(0.25)  # as somebody does who looks at what is shown
    return times


def cpu_of_player(stack: Stack, playback: str, viewers: int) -> float:
    """CPU seconds that the player takes while so many look."""
    over = threading.Event()

    def look() -> None:
        with httpx.Client(base_url=stack.http.base_url, headers=stack.http.headers, timeout=30) as client, \
                client.stream("GET", f"/playbacks/{playback}/stream") as stream:
            for _ in stream.iter_bytes():
                if over.is_set():
                    return

    looking = [threading.Thread(target=look) for _ in range(viewers)]
    for thread in looking:
        thread.start()
    time.sleep(1)
    before = _cpu(playback)
    time.sleep(LOOK_SECONDS)
    used = _cpu(playback) - before
    over.set()
    for thread in looking:
        thread.join()
    return used


def _cpu(playback: str) -> float:
    mark = f"SIMYARD_JOB_ID={playback}".encode()
    for place in Path("/proc").iterdir():
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if words[3:4] == [b"workers.player"] and mark in (place / "environ").read_bytes():
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, NotADirectoryError):
            continue
    raise AssertionError("the player does not run")
