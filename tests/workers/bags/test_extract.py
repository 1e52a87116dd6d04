"""Messages of a time range: in order, no more bytes than needed, what was latched before."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import zstandard
from mcap.writer import CompressionType, Writer

from tests.workers.bags.making import SCHEMA, START, TYPE, messages, write_db3, write_mcap
from tests.workers.bags.reading import INT64_MAX, INT64_MIN, Folder, extracted, folder_of, index_of
from tests.workers.bags.test_index_properties import grained
from workers.bags import extract as extract_module
from workers.bags import fetching
from workers.bags.blocks import BlockDamaged
from workers.bags.extract import Message, Overfull
from workers.bags.extract import messages as extract
from workers.bags.index import Index
from workers.bags.opening import NotRestored

LATCHED = "- history: 1\n  depth: {depth}\n  durability: 1\n  lifespan: {{sec: {lifespan}, nsec: 0}}"
Row = tuple[str, int, bytes]


def write(path: Path, rows: list[Row], qos: dict[str, str] | None = None) -> Path:
    """A .db3 of these messages, some of whose topics are offered with these profiles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    names = sorted({topic for topic, _, _ in rows})
    topics = [(number, name, TYPE, (qos or {}).get(name, "")) for number, name in enumerate(names)]
    connection.executemany("INSERT INTO topics VALUES (?, ?, ?, 'cdr', ?)", topics)
    connection.executemany(
        "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
        [(names.index(topic), t_ns, data) for topic, t_ns, data in rows],
    )
    connection.commit()
    connection.close()
    return path


def read(path: Path, start_ns: int = INT64_MIN, end_ns: int = INT64_MAX, **more: Any) -> Iterator[Message]:
    return extract(index_of(path), folder_of(path), start_ns=start_ns, end_ns=end_ns, **more)


def test_the_start_is_in_and_the_end_is_out(tmp_path: Path) -> None:
    path = write_db3(tmp_path / "x.db3", messages(10))
    found = extracted(path, start_ns=START + 2_000_000, end_ns=START + 5_000_000)
    assert [t_ns - START for _, t_ns, _ in found] == [2_000_000, 3_000_000, 4_000_000]


@pytest.mark.parametrize(
    "window", [(START - 10, START), (START + 10**12, START + 10**13), (START + 5, START + 5), (START + 9, START + 5)]
)
def test_where_nothing_is_nothing_is_fetched(tmp_path: Path, window: tuple[int, int]) -> None:
    path = write_db3(tmp_path / "x.db3", messages(10))
    folder = folder_of(path)
    assert list(extract(index_of(path), folder, start_ns=window[0], end_ns=window[1])) == []
    assert folder.asked == []


def test_no_topics_are_no_messages(tmp_path: Path) -> None:
    path = write_db3(tmp_path / "x.db3", messages(10))
    assert list(read(path, topics=[])) == list(read(path, topics=["/unknown"])) == []


def test_messages_of_one_time_stay_in_the_order_of_files_and_places(tmp_path: Path) -> None:
    write(tmp_path / "bag" / "bag_0.db3", [("/t", 5, b"a"), ("/t", 9, b"b"), ("/t", 5, b"c")])
    write(tmp_path / "bag" / "bag_1.db3", [("/t", 9, b"d"), ("/t", 5, b"e")])
    assert [data for _, _, data in extracted(tmp_path / "bag")] == [b"a", b"c", b"e", b"b", b"d"]


def test_a_slice_of_a_large_file_costs_little_more_than_its_own_bytes(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", messages(30_000), size=1_000, chunk_size=768_000)
    folder = folder_of(path)
    found = list(extract(index_of(path), folder, start_ns=START + 10 * 10**9, end_ns=START + 13 * 10**9))
    assert len(found) == 3_000
    assert folder.bytes < 2 * sum(len(message.data) for message in found)
    assert len(folder.asked) < 8


def test_small_topics_are_read_without_the_large_ones_between_them(tmp_path: Path) -> None:
    rows = [row for at in range(100) for row in (("/image", 2 * at, bytes(300_000)), ("/odom", 2 * at + 1, bytes(100)))]
    path = write(tmp_path / "x.db3", rows)
    folder = folder_of(path)
    assert len(list(extract(index_of(path), folder, start_ns=0, end_ns=1000, topics=["/odom"]))) == 100
    assert folder.bytes < 1_000_000


def test_the_first_message_waits_for_little(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", messages(20_000), size=1_000, chunk_size=768_000)
    folder = folder_of(path)
    next(extract(index_of(path), folder, start_ns=INT64_MIN, end_ns=INT64_MAX))
    assert folder.bytes < 600_000


def test_what_is_read_ahead_is_bounded(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", messages(30_000), size=1_000, use_chunking=False)
    folder = folder_of(path)
    assert len(list(extract(index_of(path), folder, start_ns=INT64_MIN, end_ns=INT64_MAX))) == 30_000
    assert max(length for _, _, length in folder.asked) <= fetching.AHEAD_BYTES
    assert folder.bytes <= path.stat().st_size


def test_messages_that_overlap_too_much_to_be_sorted_end_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "HELD_BYTES", 1_000_000)
    ends = [("/t", START + (at % 2) * 10**15 + at) for at in range(3_000)]
    path = write_mcap(tmp_path / "x.mcap", ends, size=1_000)
    with pytest.raises(Overfull):
        list(read(path))
    later = list(read(path, start_ns=START + 10**15, end_ns=START + 10**15 + 500))
    assert len(later) == 250


def test_messages_packed_one_by_one_are_unpacked(tmp_path: Path) -> None:
    whole = b"\x00\x01\x00\x00" + bytes(10_000)
    frames = [zstandard.ZstdCompressor(write_content_size=size).compress(whole) for size in (True, False)]
    broken = frames[0][:-3]
    stored = [*frames, whole, broken, b"\x28\xb5\x2f\xfd"]
    path = write(tmp_path / "x.db3", [("/t", at, data) for at, data in enumerate(stored)])
    assert [message.data for message in read(path)] == [whole, whole, whole, *stored[3:]]


def test_a_packed_message_that_is_a_bomb_stays_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.bags import limits

    monkeypatch.setattr(limits, "RECORD_BYTES", 1 << 20)
    bombs = [zstandard.ZstdCompressor(write_content_size=size).compress(bytes(1 << 24)) for size in (True, False)]
    path = write(tmp_path / "x.db3", [("/t", at, bomb) for at, bomb in enumerate(bombs)])
    assert [message.data for message in read(path)] == bombs


def test_an_mcap_tells_when_messages_were_published(tmp_path: Path) -> None:
    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file, compression=CompressionType.LZ4)
        writer.start()
        channel = writer.register_channel("/t", "cdr", writer.register_schema(TYPE, "ros2msg", b"string data"))
        writer.add_message(channel, 50, b"x", 40)
        writer.finish()  # type: ignore[no-untyped-call]
    assert list(read(tmp_path / "x.mcap")) == [Message(0, 50, b"x", 40)]


@pytest.mark.parametrize("kind", ["db3", "plain", "packed"])
def test_a_file_that_changed_is_noticed_after_what_is_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x.db3" if kind == "db3" else "x.mcap")
    compression = CompressionType.ZSTD if kind == "packed" else CompressionType.NONE
    with grained(4_096, 2_000):
        if kind == "db3":
            write_db3(path, messages(200))
        else:
            write_mcap(path, messages(200), compression=compression)
        index = index_of(path)
    blocks = index.files[0].blocks
    last = blocks.block(len(blocks) - 1)
    with path.open("r+b") as file:
        file.seek(last.extents[0][0])
        file.write(bytes(last.extents[0][1]))
    found = extract(index, folder_of(path), start_ns=INT64_MIN, end_ns=INT64_MAX)
    assert [message.t_ns for message in islice(found, 100)] == [t_ns for _, t_ns in messages(100)]
    with pytest.raises(BlockDamaged):
        list(found)


def test_a_file_that_was_cut_is_noticed(tmp_path: Path) -> None:
    path = write_db3(tmp_path / "x.db3", messages(2_000))
    index = index_of(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BlockDamaged):
        list(extract(index, folder_of(path), start_ns=INT64_MIN, end_ns=INT64_MAX))


def test_files_to_be_read_as_a_whole_are_not_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "x.db3.zstd"
    path.write_bytes(zstandard.ZstdCompressor().compress(write_db3(tmp_path / "x.db3", messages(5)).read_bytes()))
    (tmp_path / "x.db3").unlink()
    index = index_of(path)
    with pytest.raises(NotRestored):
        list(extract(index, Folder(tmp_path), start_ns=INT64_MIN, end_ns=INT64_MAX))
    with pytest.raises(NotRestored):
        list(extract(static(index), Folder(tmp_path), start_ns=INT64_MAX - 1, end_ns=INT64_MAX, latched=True))


def static(index: Index) -> Index:
    return replace(index, topics=[replace(topic, latched=True) for topic in index.topics])


def latched(path: Path, start_ns: int, **more: Any) -> list[tuple[int, bytes]]:
    """Time and bytes of what is given before the first message."""
    found = read(path, start_ns=start_ns, end_ns=start_ns, latched=True, **more)
    return [(message.t_ns, message.data) for message in found]


def test_what_was_latched_comes_first_with_its_own_times(tmp_path: Path) -> None:
    rows = [("/map", 1, b"a"), ("/map", 5, b"b"), ("/odom", 6, b"o"), ("/map", 9, b"c"), ("/odom", 12, b"p")]
    path = write(tmp_path / "x.db3", rows, {"/map": LATCHED.format(depth=1, lifespan=0)})
    assert latched(path, 8) == [(5, b"b")]
    assert latched(path, 1) == []
    found = [(message.t_ns, message.data) for message in read(path, start_ns=10, end_ns=13, latched=True)]
    assert found == [(9, b"c"), (12, b"p")]
    assert latched(path, 10, topics=["/odom"]) == []


def test_as_many_are_latched_as_the_qos_keeps_and_none_that_is_too_old(tmp_path: Path) -> None:
    rows = [(topic, at * 10**9, bytes([at])) for at in range(10) for topic in ("/deep", "/short")]
    qos = {"/deep": LATCHED.format(depth=3, lifespan=0), "/short": LATCHED.format(depth=5, lifespan=2)}
    path = write(tmp_path / "x.db3", rows, qos)
    assert [t_ns // 10**9 for t_ns, _ in latched(path, 8 * 10**9, topics=["/deep"])] == [5, 6, 7]
    assert [t_ns // 10**9 for t_ns, _ in latched(path, 8 * 10**9, topics=["/short"])] == [6, 7]


def test_every_different_static_frame_is_latched(tmp_path: Path) -> None:
    rows = [("/tf_static", at, [b"base", b"laser", b"camera"][at % 3]) for at in range(30)]
    assert latched(write(tmp_path / "x.db3", rows), 20) == [(17, b"camera"), (18, b"base"), (19, b"laser")]


def test_a_static_frame_told_once_is_found_between_those_told_again_and_again(tmp_path: Path) -> None:
    for split in range(3):
        rows = [row for at in range(split * 1000, split * 1000 + 1000) for row in
                (("/tf_static", 2 * at, b"base"), ("/t", 2 * at + 1, bytes(1_000)))]
        rows += [("/tf_static", 3_001, b"once")] * (split == 1)
        write(tmp_path / "bag" / f"bag_{split}.db3", rows)
    index = index_of(tmp_path / "bag")
    assert [sum(len(place.blocks) for place in file.places) for file in index.files] == [1, 1, 0]
    folder = folder_of(tmp_path / "bag")
    found = list(extract(index, folder, start_ns=5_000, end_ns=5_000, latched=True))
    assert sorted(message.data for message in found) == [b"base", b"once"]
    assert folder.bytes < 700_000


def test_what_was_latched_in_an_earlier_file_is_found(tmp_path: Path) -> None:
    qos = {"/map": LATCHED.format(depth=1, lifespan=0)}
    write(tmp_path / "bag" / "bag_0.db3", [("/map", 1, b"a"), ("/t", 2, b"x")], qos)
    write(tmp_path / "bag" / "bag_1.db3", [("/t", 50, b"y"), ("/t", 60, b"z")])
    assert latched(tmp_path / "bag", 55) == [(1, b"a")]


@pytest.mark.parametrize("places", [True, False])
def test_what_was_latched_long_ago_is_found_without_reading_what_is_between(tmp_path: Path, places: bool) -> None:
    rows = [("/map", 1, b"map"), *(("/t", 2 + at, bytes(1_000)) for at in range(5_000))]
    path = write(tmp_path / "x.db3", rows, {"/map": LATCHED.format(depth=1, lifespan=0)})
    index = index_of(path)
    assert len(index.files[0].places) == 1
    if not places:
        index.files[0].places.clear()
    folder = folder_of(path)
    found = list(extract(index, folder, start_ns=4_900, end_ns=4_900, topics=["/map"], latched=True))
    assert [message.data for message in found] == [b"map"]
    assert folder.bytes < 400_000


def test_a_latched_topic_in_every_block_is_found_near_the_start(tmp_path: Path) -> None:
    states = [("/state", 2 * at, bytes([at % 256])) for at in range(2_000)]
    rows = [row for state in states for row in (state, ("/t", state[1] + 1, bytes(1_000)))]
    path = write(tmp_path / "x.db3", rows, {"/state": LATCHED.format(depth=1, lifespan=0)})
    folder = folder_of(path)
    found = list(extract(index_of(path), folder, start_ns=3_000, end_ns=3_000, latched=True))
    assert [(message.t_ns, message.data) for message in found] == [(2_998, bytes([1_499 % 256]))]
    assert folder.bytes < 600_000


def test_of_times_out_of_order_the_latest_is_latched(tmp_path: Path) -> None:
    rows = [("/map", t_ns, bytes([t_ns])) for t_ns in (5, 90, 40, 7, 60, 30)]
    rows = [row for pair in zip(rows, [("/t", 1, bytes(300_000))] * 6, strict=True) for row in pair]
    path = write(tmp_path / "x.db3", rows, {"/map": LATCHED.format(depth=2, lifespan=0)})
    assert [t_ns for t_ns, _ in latched(path, 61)] == [40, 60]
    assert [t_ns for t_ns, _ in latched(path, 60)] == [30, 40]
