"""Laws of reading by the index, for any recording and any damage."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from mcap.writer import CompressionType, Writer
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.typesys import Stores, get_typestore

from tests.workers.bags.making import SCHEMA, TYPE
from tests.workers.bags.reading import INT64_MAX, Read, extracted, index_of
from workers.bags import indexing
from workers.bags.facts import facts
from workers.bags.index import Grain
from workers.bags.index_blocks import TooScattered
from workers.bags.index_checks import BadIndex
from workers.bags.index_codec import pack, unpack
from workers.bags.problems import Hostile
from workers.bags.recordings import recording_at

TIMES = some.integers(0, 60) | some.integers(0, INT64_MAX)
SIZES = some.integers(0, 300) | some.sampled_from([1_000, 5_000, 20_000, 70_000])
SENDINGS = some.lists(some.tuples(some.sampled_from(["/a", "/b", "/c"]), TIMES, SIZES), max_size=60)
Sent = list[tuple[str, int, int]]


@contextmanager
def grained(block: int, large: int) -> Iterator[None]:
    """Indexes this finely, so that small recordings have many blocks."""
    with patch.object(indexing, "grain_of", lambda _: Grain(block, large)):
        yield


def content(number: int, size: int) -> bytes:
    """Bytes that no other message has."""
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


def write_rows(path: Path, sent: Sent, page: int, order: list[int]) -> None:
    """A .db3 with pages of this size; message n has the id order[n]."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA page_size = {page}")
    connection.executescript(SCHEMA)
    topics = {name: number for number, name in enumerate(["/a", "/b", "/c"], start=1)}
    connection.executemany("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", [(n, t, TYPE) for t, n in topics.items()])
    rows = [
        (order[number], topics[topic], t_ns, content(number, size)) for number, (topic, t_ns, size) in enumerate(sent)
    ]
    connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()


def write_records(path: Path, sent: Sent, compression: CompressionType, chunk: int) -> None:
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, chunk_size=max(1, chunk), use_chunking=chunk > 0)
        writer.start(profile="ros2")
        schema = writer.register_schema(TYPE, "ros2msg", b"string data")
        topics = {name: writer.register_channel(name, "cdr", schema) for name in ("/a", "/b", "/c")}
        for number, (topic, t_ns, size) in enumerate(sent):
            writer.add_message(topics[topic], t_ns, content(number, size), t_ns, number)
        writer.finish()  # type: ignore[no-untyped-call]


def expected(sent: Sent, start_ns: int, end_ns: int, topics: set[str] | None = None) -> list[Read]:
    """What must be read of messages that lie in this order."""
    found = [(topic, t_ns, content(number, size)) for number, (topic, t_ns, size) in enumerate(sent)]
    wanted = [read for read in found if start_ns <= read[1] < end_ns and (topics is None or read[0] in topics)]
    return sorted(wanted, key=lambda read: read[1])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SENDINGS, some.sampled_from([512, 1024, 4096, 65536]), some.tuples(TIMES, TIMES))
def test_any_moment_of_a_database_is_what_was_sent(sent: Sent, page: int, window: tuple[int, int]) -> None:
    start, end = sorted(window)
    ids = list(range(-20, len(sent) - 20))
    with TemporaryDirectory() as folder, grained(4_096, 2_000):
        path = Path(folder) / "x.db3"
        write_rows(path, sent, page, ids)
        index = index_of(path)
        assert extracted(path, index, start_ns=start, end_ns=end) == expected(sent, start, end)
        assert extracted(path, index, start_ns=start, end_ns=end, topics={"/b"}) == expected(sent, start, end, {"/b"})


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SENDINGS, some.sampled_from(CompressionType), some.sampled_from([0, 1, 500, 100_000]), some.tuples(TIMES, TIMES))
def test_any_moment_of_an_mcap_is_what_was_sent(
    sent: Sent, compression: CompressionType, chunk: int, window: tuple[int, int]
) -> None:
    start, end = sorted(window)
    with TemporaryDirectory() as folder, grained(4_096, 2_000):
        path = Path(folder) / "x.mcap"
        write_records(path, sent, compression, chunk)
        index = index_of(path)
        assert extracted(path, index, start_ns=start, end_ns=end) == expected(sent, start, end)
        assert extracted(path, index, start_ns=start, end_ns=end, topics={"/b"}) == expected(sent, start, end, {"/b"})


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SENDINGS, some.integers(0, 60), some.tuples(TIMES, TIMES))
def test_splits_are_merged_by_time_and_then_by_file(sent: Sent, at: int, window: tuple[int, int]) -> None:
    start, end = sorted(window)
    with TemporaryDirectory() as folder, grained(2_000, 1_000):
        bag = Path(folder) / "bag"
        bag.mkdir()
        write_rows(bag / "bag_0.db3", sent[:at], 4096, list(range(1, at + 1)))
        later = [(topic, t_ns, size) for topic, t_ns, size in sent[at:]]
        write_rows(bag / "bag_1.db3", later, 4096, list(range(1, len(later) + 1)))
        found = extracted(bag, start_ns=start, end_ns=end)
    wanted = expected(sent[:at], start, end) + expected(later, start, end)
    assert found == sorted(wanted, key=lambda read: read[1])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    some.lists(some.tuples(some.sampled_from(["/a", "/b"]), some.integers(0, 9**12), some.integers(0, 3_000))),
    some.sampled_from([None, *Rosbag1Writer.CompressionFormat]),
    some.tuples(some.integers(0, 10**12), some.integers(0, 10**12)),
)
def test_any_moment_of_a_ros1_bag_is_what_was_sent(
    sent: Sent, compression: Rosbag1Writer.CompressionFormat | None, window: tuple[int, int]
) -> None:
    start, end = sorted(window)
    store = get_typestore(Stores.ROS1_NOETIC)
    with TemporaryDirectory() as folder, grained(2_000, 1_000):
        path = Path(folder) / "x.bag"
        writer = Rosbag1Writer(path)
        if compression:
            writer.set_compression(compression)
        with writer:
            topics = {name: writer.add_connection(name, TYPE, typestore=store) for name in ("/a", "/b")}
            for number, (topic, t_ns, size) in enumerate(sent):
                writer.write(topics[topic], t_ns, content(number, size))
        found = extracted(path, start_ns=start, end_ns=end)
    assert sorted(found) == sorted(expected(sent, start, end))


FEW: Sent = [(f"/{'abc'[number % 3]}", 1000 + number, 50 + number * 37 % 900) for number in range(150)]
FEW[70:70] = [("/a", 1070, 30_000), ("/b", 1071, 5_000)]


def write_bag(path: Path, compression: Rosbag1Writer.CompressionFormat | None) -> None:
    writer = Rosbag1Writer(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        store = get_typestore(Stores.ROS1_NOETIC)
        topics = {name: writer.add_connection(name, TYPE, typestore=store) for name in ("/a", "/b", "/c")}
        for number, (topic, t_ns, size) in enumerate(FEW):
            writer.write(topics[topic], t_ns, content(number, size))


MAKERS: dict[str, Callable[[Path], None]] = {
    "x.db3": lambda path: write_rows(path, FEW, 1024, list(range(1, len(FEW) + 1))),
    "plain.mcap": lambda path: write_records(path, FEW, CompressionType.NONE, 5_000),
    "packed.mcap": lambda path: write_records(path, FEW, CompressionType.ZSTD, 5_000),
    "loose.mcap": lambda path: write_records(path, FEW, CompressionType.NONE, 0),
    "plain.bag": lambda path: write_bag(path, None),
    "packed.bag": lambda path: write_bag(path, Rosbag1Writer.CompressionFormat.BZ2),
}
CHANGES = some.lists(some.tuples(some.floats(0, 1, exclude_max=True), some.integers(0, 255)), min_size=1, max_size=6)


@cache
def sound(name: str) -> bytes:
    """The bytes of a sound recording of FEW."""
    with TemporaryDirectory() as folder:
        MAKERS[name](Path(folder) / name)
        return (Path(folder) / name).read_bytes()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some.sampled_from(list(MAKERS)), CHANGES, some.floats(0.1, 2))
def test_of_a_damaged_recording_the_index_gives_what_its_facts_count(
    name: str, changes: list[tuple[float, int]], kept: float
) -> None:
    broken = bytearray(sound(name))
    for share, value in changes:
        broken[int(share * len(broken))] = value
    with TemporaryDirectory() as folder, grained(4_096, 3_000):
        path = Path(folder) / name
        path.write_bytes(broken[: int(kept * len(broken))])
        found = facts(recording_at(path))
        if found.state == "REJECTED":
            return
        try:
            read = extracted(path)
        except (Hostile, TooScattered):
            return
    if any(problem.code == "time_out_of_range" for problem in found.problems):
        return
    # Of a torn tree of pages more can be had in small steps than facts count.
    assert len(read) == found.messages or (name == "x.db3" and found.state == "DAMAGED" and len(read) > found.messages)


@settings(max_examples=300, deadline=None)
@given(some.data())
def test_an_index_with_bytes_changed_is_refused_or_is_one(data: some.DataObject) -> None:
    packed = bytearray(index_bytes())
    for _ in range(data.draw(some.integers(1, 3))):
        packed[data.draw(some.integers(0, len(packed) - 1))] = data.draw(some.integers(0, 255))
    try:
        unpack(bytes(packed))
    except BadIndex:
        return


@cache
def index_bytes() -> bytes:
    with TemporaryDirectory() as folder, grained(4_096, 3_000):
        path = Path(folder) / "x.db3"
        MAKERS["x.db3"](path)
        return pack(index_of(path))
