"""Reading moments of a large recording: how soon the first message comes, how much is read for it, how long it takes
beside reading the whole file; and a slice of all of a recording beside rosbags-convert.
"""

import http.client
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.recordings import enlarge
from benchmarks.report import Figure, quantile
from tests.waiting import until
from tests.workers.serving import Storage, served
from workers.bags.cage import examine

ROOT = Path(__file__).parents[1]
TOKEN = "benchmark"
GIB = 1 << 30
MOMENT_NS = 10 * 10**9
MOMENTS = 20
# What rosbags-convert gets, which knows no moments.
WHOLE_BYTES = 100 << 20
COMPRESSED = ("--compress", "zstd", "--compress-mode", "storage")


def measure(folder: Path, size: int = 5 * GIB) -> Iterator[Figure]:
    """Figures of a .db3 of `size` bytes."""
    with served(folder) as storage, _reader(folder) as port:
        large = _made(folder / "large", size)
        yield from _moments(storage, port, large)
        shutil.rmtree(large.parent)
        whole = _made(folder / "whole", WHOLE_BYTES)
        yield from _slices(storage, port, whole)
        shutil.rmtree(whole.parent)


def _made(folder: Path, size: int) -> Path:
    """A recording with its index beside its folder."""
    folder.mkdir()
    enlarge(folder / "bag_0.db3", size)
    examine(folder, 3600, index=folder.with_suffix(".index"))
    return folder / "bag_0.db3"


def _moments(storage: Storage, port: int, bag: Path) -> Iterator[Figure]:
    """Ten seconds out of the middle, twenty times, each after the other."""
    waits, ratios, times = [], [], []
    for number in range(MOMENTS):
        start = _middle(bag) + number * MOMENT_NS
        request = storage.request("large.index", "large", start_ns=start, end_ns=start + MOMENT_NS)
        storage.asked.clear()
        first, whole = _ask(port, request)
        waits.append(1000 * first)
        times.append(whole)
        read = sum(size for name, _, size in storage.asked if name != "large.index")
        ratios.append(read / _bytes_between(bag, start, start + MOMENT_NS))
        time.sleep(0.3)  # a user's next look; children are warm again
    name = f"first message of 10 s in the middle of {bag.stat().st_size / GIB:.1f} GiB"
    yield Figure(name, quantile(waits, 0.5), "ms", at_most=200, detail=f"p95 {quantile(waits, 0.95):.0f} ms")
    yield Figure("bytes read / bytes of the messages", quantile(ratios, 0.5), "x", at_most=3)
    reading = _reading_time(bag)
    yield Figure("10 s as JSON / reading the whole file", quantile(times, 0.5) / reading, "x", at_most=0.5,
                 detail=f"{quantile(times, 0.5):.2f} against {reading:.2f} s")


def _slices(storage: Storage, port: int, bag: Path) -> Iterator[Figure]:
    """All of a recording as one packed .mcap."""
    request = storage.request("whole.index", "whole", **{"as": "mcap"})
    ours = min(_ask(port, request)[1] for _ in range(3))
    theirs = min(_converting_time(bag.parent) for _ in range(3))
    yield Figure("slice of 100 MiB to .mcap / rosbags-convert of the same", ours / theirs, "x", at_most=1.5,
                 detail=f"{ours:.2f} against {theirs:.2f} s")


def _ask(port: int, request: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first byte of an answer and to its last."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=600)) as connection:
        began = time.perf_counter()
        connection.request("POST", "/excerpts", json.dumps(request), {"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(answer.read().decode())
        answer.read(1)
        first = time.perf_counter() - began
        while answer.read(1 << 20):
            pass
        return first, time.perf_counter() - began


def _middle(bag: Path) -> int:
    return int(_one(bag, "SELECT (min(timestamp) + max(timestamp)) / 2 FROM messages"))


def _bytes_between(bag: Path, start_ns: int, end_ns: int) -> int:
    query = "SELECT sum(length(data)) FROM messages WHERE timestamp >= ? AND timestamp < ?"
    return int(_one(bag, query, start_ns, end_ns))


def _one(bag: Path, query: str, *values: int) -> Any:
    with closing(sqlite3.connect(f"file:{bag}?immutable=1", uri=True)) as connection:
        return connection.execute(query, values).fetchone()[0]


def _reading_time(bag: Path) -> float:
    began = time.perf_counter()
    with bag.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    return time.perf_counter() - began


def _converting_time(folder: Path) -> float:
    target = folder.with_name("converted")
    command = [str(Path(sys.executable).with_name("rosbags-convert")), "--src", str(folder / "bag_0.db3")]
    began = time.perf_counter()
    subprocess.run([*command, "--dst", str(target), "--dst-storage", "mcap", *COMPRESSED], check=True)
    took = time.perf_counter() - began
    shutil.rmtree(target)
    return took


@contextmanager
def _reader(folder: Path) -> Iterator[int]:
    """A reader process; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "PATH": os.defpath, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "LOG_LEVEL": "WARNING",
        "SIMYARD_READER_TOKEN": TOKEN, "SIMYARD_READER_LISTEN": f"127.0.0.1:{port}",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-P", "-m", "workers.reader"], env=environment, cwd=folder)
    try:
        until(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
