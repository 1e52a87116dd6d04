"""Laws that hold for any recording and any damage."""

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some
from mcap.writer import CompressionType

from tests.workers.bags.conftest import Reader
from tests.workers.bags.making import Message, codes, messages, write_db3, write_mcap, write_rosbag1

SENT = messages(120, topics=3)
MAKERS: dict[str, Callable[[Path], Path]] = {
    "plain": lambda path: write_mcap(path / "x.mcap", SENT),
    "zstd": lambda path: write_mcap(path / "x.mcap", SENT, compression=CompressionType.ZSTD),
    "lz4": lambda path: write_mcap(path / "x.mcap", SENT, compression=CompressionType.LZ4),
    "no chunks": lambda path: write_mcap(path / "x.mcap", SENT, use_chunking=False),
    "db3": lambda path: write_db3(path / "x.db3", SENT, size=600),
    "bag": lambda path: write_rosbag1(path / "x.bag", SENT),
    "bag, lz4": lambda path: write_rosbag1(path / "x.bag", SENT, compression="lz4"),
    "bag, bz2": lambda path: write_rosbag1(path / "x.bag", SENT, compression="bz2"),
    "bag, open": lambda path: write_rosbag1(path / "x.bag.active", SENT, closed=False),
}
INT64 = some.integers(-(2**63), 2**63 - 1)
SENDINGS = some.lists(some.tuples(some.sampled_from(["/a", "/b", "c"]), INT64), max_size=40)


@cache
def sound(kind: str) -> tuple[str, bytes]:
    """Name and bytes of a sound recording of SENT."""
    with TemporaryDirectory() as folder:
        path = MAKERS[kind](Path(folder))
        return path.name, path.read_bytes()


def read_bytes(name: str, content: bytes) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        found = Reader()(Path(folder) / name)
    json.dumps(found, allow_nan=False)
    return found


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {topic["name"]: topic["count"] for topic in found["topics"] if topic["count"]}


@settings(max_examples=150, deadline=None)
@given(some.sampled_from(["plain", "zstd", "lz4", "no chunks"]), some.floats(0, 1))
def test_a_cut_mcap_holds_the_beginning_of_the_whole(kind: str, share: float) -> None:
    name, content = sound(kind)
    cut = int(share * len(content))
    found = read_bytes(name, content[:cut])
    check_beginning(found)
    assert found["state"] == ("READY" if cut == len(content) else "DAMAGED" if cut >= 8 else "REJECTED")


@settings(max_examples=150, deadline=None)
@given(some.sampled_from(["bag", "bag, lz4", "bag, bz2", "bag, open"]), some.floats(0, 1))
def test_a_cut_bag_of_ros_1_holds_the_beginning_of_the_whole(kind: str, share: float) -> None:
    name, content = sound(kind)
    # The first 4 KB hold nothing.
    cut = int(4000 + share * (len(content) - 4000))
    found = read_bytes(name, content[:cut])
    check_beginning(found)
    ends_well = "not_closed" in codes(found) and not found["certificate"]
    assert found["state"] == ("READY" if cut == len(content) or ends_well else "DAMAGED")


def check_beginning(found: dict[str, Any]) -> None:
    there = SENT[: found["messages"]]
    assert counts(found) == Counter(topic for topic, _ in there)
    assert (found["start_ns"], found["end_ns"]) == ((there[0][1], there[-1][1]) if there else (None, None))


@settings(max_examples=150, deadline=None)
@given(some.floats(0, 1))
def test_a_cut_database_holds_no_more_than_the_whole(share: float) -> None:
    name, content = sound("db3")
    cut = int(share * len(content))
    found = read_bytes(name, content[:cut])
    whole = Counter(topic for topic, _ in SENT)
    assert found["messages"] <= len(SENT)
    assert all(count <= whole[topic] for topic, count in counts(found).items())
    assert found["state"] == ("READY" if cut == len(content) else "DAMAGED" if cut >= 16 else "REJECTED")


@settings(max_examples=500, deadline=None)
@given(
    some.sampled_from(list(MAKERS)),
    some.lists(some.tuples(some.floats(0, 1, exclude_max=True), some.integers(0, 255)), min_size=1, max_size=8),
)
def test_any_bytes_changed_still_give_an_answer(kind: str, changes: list[tuple[float, int]]) -> None:
    name, content = sound(kind)
    broken = bytearray(content)
    for share, value in changes:
        broken[int(share * len(content))] = value
    found = read_bytes(name, bytes(broken))
    assert found["state"] in ("READY", "DAMAGED", "REJECTED")
    assert (found["certificate"] is not None) == (found["state"] == "DAMAGED")
    assert (found["reason"] is not None) == (found["state"] == "REJECTED")


@settings(max_examples=60, deadline=None)
@given(SENDINGS, some.integers(0, 40))
def test_counts_and_times_are_those_sent_however_the_files_split_them(sent: list[Message], at: int) -> None:
    with TemporaryDirectory() as folder:
        write_db3(Path(folder) / "bag_0.db3", sent[:at])
        write_db3(Path(folder) / "bag_1.db3", sent[at:])
        found = Reader()(Path(folder))
    check_sent(found, sent)


@settings(max_examples=60, deadline=None)
@given(some.lists(some.tuples(some.sampled_from(["/a", "/b"]), some.integers(0, 2**63 - 1)), max_size=40))
def test_an_mcap_tells_what_was_sent(sent: list[Message]) -> None:
    with TemporaryDirectory() as folder:
        check_sent(Reader()(write_mcap(Path(folder) / "x.mcap", sent, size=10)), sent)


@settings(max_examples=60, deadline=None)
@given(
    some.lists(some.tuples(some.sampled_from(["/a", "/b"]), some.integers(0, 2**32 * 10**9 - 1)), max_size=40),
    some.sampled_from(["none", "bz2", "lz4"]),
    some.integers(1, 50),
)
def test_a_bag_of_ros_1_tells_what_was_sent(sent: list[Message], compression: str, each: int) -> None:
    with TemporaryDirectory() as folder:
        check_sent(Reader()(write_rosbag1(Path(folder) / "x.bag", sent, compression=compression, each=each)), sent)


def check_sent(found: dict[str, Any], sent: list[Message]) -> None:
    times = [time for _, time in sent]
    assert found["state"] == "READY"
    assert counts(found) == Counter(topic for topic, _ in sent)
    assert (found["start_ns"], found["end_ns"]) == (min(times, default=None), max(times, default=None))
    for topic in found["topics"]:
        own = [time for name, time in sent if name == topic["name"]]
        assert (topic["first_ns"], topic["last_ns"]) == (min(own), max(own))
