"""A recorder that is killed at any instant loses nothing that it had committed."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.bags.making import SCHEMA
from workers.bags.facts import facts
from workers.bags.recordings import recording_at

# Forks a recorder for each kill, which says after each commit how many messages it has committed; kills it at a random
# instant; prints what it had said last. Ours, the log of SQLite as rosbag2 uses it, and MCAP without chunks.
RECORDERS = r"""
import os, random, signal, sqlite3, struct, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from simulators.diffdrive.recording import Recording

def ours(folder, said):
    recording, count = Recording(folder, {{}}), 0
    while True:
        for _ in range(random.randrange(1, 40)):
            count += 1
            recording.write("/clock", count, bytes(random.randrange(10, 3000)))
        recording.commit()
        os.write(said, b"%d\n" % count)

def wal(folder, said):
    folder.mkdir()
    database, count = sqlite3.connect(folder / "bag_0.db3", isolation_level=None), 0
    database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=20;")
    database.executescript({schema!r})
    database.execute("INSERT INTO topics VALUES (1, '/t', 'std_msgs/msg/String', 'cdr', '')")
    os.write(said, b"0\n")
    while True:
        database.execute("BEGIN")
        for _ in range(random.randrange(1, 40)):
            count += 1
            database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)",
                             (count, bytes(random.randrange(10, 3000))))
        database.execute("COMMIT")
        os.write(said, b"%d\n" % count)

def record(opcode, *parts):
    body = b"".join(parts)
    return bytes([opcode]) + struct.pack("<Q", len(body)) + body

def text(word):
    return struct.pack("<I", len(word)) + word

def mcap(folder, said):
    folder.mkdir()
    file, count = os.open(folder / "bag_0.mcap", os.O_WRONLY | os.O_CREAT), 0
    os.write(file, b"\x89MCAP0\r\n" + record(1, text(b"ros2"), text(b"test"))
             + record(3, struct.pack("<H", 1), text(b"std_msgs/msg/String"), text(b"ros2msg"), text(b"string data"))
             + record(4, struct.pack("<HH", 1, 1), text(b"/t"), text(b"cdr"), struct.pack("<I", 0)))
    os.write(said, b"0\n")
    while True:
        count += 1
        os.write(file, record(5, struct.pack("<HIQQ", 1, count, count, count), bytes(random.randrange(10, 3000))))
        os.write(said, b"%d\n" % count)

random.seed({seed})
for number in range({kills}):
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        random.seed({seed} + number)
        {kind}(Path({folder!r}) / str(number), said)
    os.close(said)
    first = os.read(heard, 65536)
    time.sleep(random.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(heard, 65536):
        first = more
    os.close(heard)
    print(first.split(b"\n")[-2].decode(), flush=True)
"""


@pytest.mark.parametrize(("kind", "kills"), [("ours", 100), ("wal", 50), ("mcap", 50)])
def test_two_hundred_kills_lose_nothing_that_was_committed(tmp_path: Path, kind: str, kills: int) -> None:
    seed = random.randrange(10**9)
    script = RECORDERS.format(root=str(Path(__file__).parents[3]), folder=str(tmp_path), kills=kills, kind=kind,
                              seed=seed, schema=SCHEMA)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    committed = [int(line) for line in done.stdout.split()]
    assert len(committed) == kills
    for number, count in enumerate(committed):
        found = facts(recording_at(tmp_path / str(number)), scratch=tmp_path)
        assert found.state in ("READY", "DAMAGED"), (seed, number, found.problems)
        assert found.messages >= count, (seed, number, found.problems)
