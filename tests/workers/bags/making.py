"""Makes recordings for the tests: sound ones, killed ones and damaged ones."""

import bz2
import hashlib
import os
import signal
import sqlite3
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lz4 import frame as lz4  # type: ignore[import-untyped]
from mcap.writer import CompressionType, Writer

SCHEMA = """
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
    offered_qos_profiles TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""
START = 1_700_000_000_000_000_000
TYPE = "std_msgs/msg/String"
Message = tuple[str, int]


def messages(count: int, topics: int = 2) -> list[Message]:
    """(topic, time) of messages that go round the topics, 1 ms apart."""
    return [(f"/t{index % topics}", START + index * 1_000_000) for index in range(count)]


def write_db3(path: Path, sent: Iterable[Message] = (), *, size: int = 100, extra: str = "") -> Path:
    """A .db3 as rosbag2 lays it out; `extra` is SQL run at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.executescript(SCHEMA)
    topics: dict[str, int] = {}
    rows = [(topics.setdefault(topic, len(topics) + 1), time, b"\0" * size) for topic, time in sent]
    connection.executemany("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", [(n, t, TYPE) for t, n in topics.items()])
    connection.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.executescript(extra)
    connection.close()
    return path


def write_mcap(
    path: Path,
    sent: Iterable[Message] = (),
    *,
    compression: CompressionType = CompressionType.NONE,
    chunk_size: int = 1000,
    use_chunking: bool = True,
    size: int = 100,
) -> Path:
    """An .mcap with definitions; no chunk is larger than it must be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, chunk_size=chunk_size, use_chunking=use_chunking)
        writer.start(profile="ros2", library="simyard tests")
        schema = writer.register_schema(TYPE, "ros2msg", b"string data")
        channels: dict[str, int] = {}
        for number, (topic, time) in enumerate(sent):
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channels[topic], time, os.urandom(size), time, number)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


BAG_MAGIC = b"#ROSBAG V2.0\n"
BAG_PACKERS: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "bz2": bz2.compress, "lz4": lz4.compress}


def bag_fields(**fields: bytes) -> bytes:
    """The fields of a header of ROS 1."""
    return b"".join(
        struct.pack("<I", len(name) + 1 + len(value)) + name.encode() + b"=" + value for name, value in fields.items()
    )


def bag_record(opcode: int, data: bytes = b"", **fields: bytes) -> bytes:
    """A record of a ROS 1 bag."""
    header = bag_fields(**fields, op=bytes([opcode]))
    return struct.pack("<I", len(header)) + header + struct.pack("<I", len(data)) + data


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def bag_header(index_at: int = 0, connections: int = 0, chunks: int = 0, **fields: bytes) -> bytes:
    """The first record of a ROS 1 bag, which writers pad to 4096 bytes."""
    place = struct.pack("<Q", index_at)
    return bag_record(3, b" " * 3900, index_pos=place, conn_count=u32(connections), chunk_count=u32(chunks), **fields)


def bag_connection(number: int, topic: str, kind: str = "std_msgs/String", definition: str = "string data") -> bytes:
    """The record of one publisher."""
    content = bag_fields(topic=topic.encode(), type=kind.encode(), message_definition=definition.encode())
    return bag_record(7, content, conn=u32(number), topic=topic.encode())


def bag_message(number: int, time: int, data: bytes = b"\4\0\0\0data") -> bytes:
    """A message of a connection."""
    return bag_record(2, data, conn=u32(number), time=struct.pack("<II", *divmod(time, 10**9)))


def bag_chunk(content: bytes, compression: str = "none") -> bytes:
    """A chunk of records."""
    return bag_record(5, BAG_PACKERS[compression](content), compression=compression.encode(), size=u32(len(content)))


def write_rosbag1(
    path: Path, sent: Sequence[Message], *, compression: str = "none", each: int = 10, closed: bool = True
) -> Path:
    """A .bag, or a .bag.active that is not closed."""
    path.write_bytes(bag_bytes(sent, compression=compression, each=each, closed=closed))
    return path


def bag_bytes(
    sent: Sequence[Message], *, compression: str = "none", each: int = 10, closed: bool = True, size: int = 100
) -> bytes:
    """A ROS 1 bag as its recorder lays it out, `each` messages a chunk; one not `closed` lacks its index."""
    numbers = {topic: number for number, topic in enumerate(dict.fromkeys(topic for topic, _ in sent))}
    chunks, infos, known = b"", b"", set[str]()
    start = BAG_MAGIC + bag_header()
    for first in range(0, len(sent), each):
        content, counts = b"", Counter[int]()
        for topic, time in sent[first : first + each]:
            content += b"" if topic in known else bag_connection(numbers[topic], topic)
            content += bag_message(numbers[topic], time, os.urandom(size))
            known.add(topic)
            counts[numbers[topic]] += 1
        place = struct.pack("<Q", len(start + chunks))
        chunks += bag_chunk(content, compression)
        for number, count in counts.items():
            chunks += bag_record(4, bytes(12 * count), ver=u32(1), conn=u32(number), count=u32(count))
        pairs = b"".join(u32(number) + u32(count) for number, count in counts.items())
        infos += bag_record(6, pairs, ver=u32(1), chunk_pos=place, count=u32(len(counts)))
    if not closed:
        return start + chunks
    index = b"".join(bag_connection(number, topic) for topic, number in numbers.items()) + infos
    header = bag_header(len(start + chunks), len(numbers), -(-len(sent) // each))
    return BAG_MAGIC + header + chunks + index


def write_metadata(folder: Path, files: list[str], sent: list[Message], **changes: int) -> Path:
    """A metadata.yaml that fits, but for `changes` of message_count, start and duration."""
    times = [time for _, time in sent] or [0]
    topics = "".join(
        f"    - topic_metadata: {{name: {name}, type: {TYPE}, serialization_format: cdr}}\n"
        f"      message_count: {sum(topic == name for topic, _ in sent)}\n"
        for name in sorted({topic for topic, _ in sent})
    )
    path = folder / "metadata.yaml"
    path.write_text(
        "rosbag2_bagfile_information:\n"
        "  version: 5\n"
        f"  storage_identifier: sqlite3\n"
        f"  relative_file_paths: [{', '.join(files)}]\n"
        f"  duration: {{nanoseconds: {changes.get('duration', max(times) - min(times))}}}\n"
        f"  starting_time: {{nanoseconds_since_epoch: {changes.get('start', min(times))}}}\n"
        f"  message_count: {changes.get('message_count', len(sent))}\n"
        f"  topics_with_message_count:\n{topics}"
    )
    return path


def kill_writer(path: Path, *, committed: int, uncommitted: int, journal: str) -> None:
    """Lets another process write a .db3 and die by SIGKILL in a transaction: rows are left in `-wal` or `-journal`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    script = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.executescript("PRAGMA journal_mode={journal}; PRAGMA cache_size=5; PRAGMA wal_autocheckpoint=0;")
connection.executescript({SCHEMA!r})
connection.execute("INSERT INTO topics VALUES (1, '/t0', {TYPE!r}, 'cdr', '')")
def write(first, count):
    connection.execute("BEGIN")
    rows = [(1, {START} + index, bytes(500)) for index in range(first, first + count)]
    connection.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
write(0, {committed})
connection.execute("COMMIT")
write({committed}, {uncommitted})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 and time of change of every file below `folder`."""
    return {
        str(path.relative_to(folder)): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def codes(facts: dict[str, object]) -> list[str]:
    """The codes of an answer's problems."""
    problems = facts["problems"]
    assert isinstance(problems, list)
    return [problem["code"] for problem in problems]
