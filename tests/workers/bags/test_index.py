"""The index beside a recording: when there is one, what it holds, and that nothing else is taken for one."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from mcap.writer import CompressionType

from tests.workers.bags.making import (
    SCHEMA,
    START,
    TYPE,
    kill_writer,
    messages,
    write_db3,
    write_mcap,
    write_metadata,
)
from tests.workers.bags.reading import extracted, index_of
from workers.bags import index_blocks, index_codec
from workers.bags.cage import examine
from workers.bags.facts import facts
from workers.bags.files import Workspace
from workers.bags.index import Index
from workers.bags.index_checks import BadIndex
from workers.bags.index_codec import TooLarge, pack, unpack
from workers.bags.indexing import build_index
from workers.bags.problems import Hostile
from workers.bags.recordings import recording_at

QOS = "- history: {}\n  depth: {}\n  durability: {}\n  lifespan: {{sec: {}, nsec: 0}}"


def with_qos(path: Path, qos: str) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE topics SET offered_qos_profiles = ?", (qos,))
    connection.commit()
    connection.close()
    return path


def test_the_caged_child_writes_it_beside_the_facts(tmp_path: Path) -> None:
    write_db3(tmp_path / "bag" / "x.db3", messages(100))
    found = examine(tmp_path / "bag", 30, index=tmp_path / "index")
    index = unpack((tmp_path / "index").read_bytes())
    assert {topic.name: topic.count for topic in index.topics} == {
        topic["name"]: topic["count"] for topic in found["topics"]
    }
    assert [(file.name, file.size) for file in index.files] == [
        ("x.db3", (tmp_path / "bag" / "x.db3").stat().st_size)
    ]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["bag", "index"]


def test_without_being_asked_nothing_is_written(tmp_path: Path) -> None:
    write_db3(tmp_path / "bag" / "x.db3", messages(10))
    examine(tmp_path / "bag", 30)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize("seconds", [30, 0])
def test_a_rejected_recording_has_none(tmp_path: Path, seconds: float) -> None:
    (tmp_path / "x.mcap").write_text("text")
    (tmp_path / "index").write_text("an old one")
    assert examine(tmp_path / "x.mcap", seconds, index=tmp_path / "index")["state"] == "REJECTED"
    assert not (tmp_path / "index").exists()


def test_a_recording_without_messages_has_one(tmp_path: Path) -> None:
    write_mcap(tmp_path / "x.mcap")
    examine(tmp_path / "x.mcap", 30, index=tmp_path / "index")
    assert [len(file.blocks) for file in unpack((tmp_path / "index").read_bytes()).files] == [0]


def test_what_would_be_too_large_leaves_the_facts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from workers.bags.__main__ import examine_here

    path = write_mcap(tmp_path / "x.mcap", messages(100))
    monkeypatch.setattr(index_codec, "PACKED_BYTES", 10)
    assert json.loads(examine_here(path, 30, tmp_path / "index"))["messages"] == 100
    assert not (tmp_path / "index").exists()
    assert "no index: TooLarge" in capsys.readouterr().err


def test_scattered_messages_make_no_endless_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_blocks, "BLOCKS", 3)
    path = write_mcap(tmp_path / "x.mcap", messages(10), size=100_000)
    with pytest.raises(index_blocks.TooScattered):
        index_of(path)


def test_time_is_bounded(tmp_path: Path) -> None:
    recording = recording_at(write_db3(tmp_path / "x.db3", messages(10)))
    found = facts(recording)
    with pytest.raises(Hostile, match="longer than allowed"):
        build_index(recording, found, Workspace(tmp_path, time.monotonic() - 1))


def test_large_messages_are_blocks_of_their_own(tmp_path: Path) -> None:
    sent = [("/image", START), ("/odom", START + 1), ("/image", START + 2), ("/odom", START + 3)]
    connection = sqlite3.connect(tmp_path / "x.db3")
    connection.executescript(SCHEMA)
    topics = [(1, "/image", TYPE), (2, "/odom", TYPE)]
    connection.executemany("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", topics)
    rows = [(1, t_ns, 500_000) if topic == "/image" else (2, t_ns, 50) for topic, t_ns in sent]
    connection.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, zeroblob(?))", rows)
    connection.commit()
    connection.close()
    file = index_of(tmp_path / "x.db3").files[0]
    blocks = [file.blocks.block(number) for number in range(len(file.blocks))]
    assert sorted((block.first_ns - START, block.last_ns - START, block.messages) for block in blocks) == [
        (0, 0, 1), (1, 3, 2), (2, 2, 1)
    ]


@pytest.mark.parametrize("compression", list(CompressionType))
def test_chunks_that_are_not_packed_are_read_in_parts(tmp_path: Path, compression: CompressionType) -> None:
    path = write_mcap(tmp_path / "x.mcap", messages(3_000), compression=compression, chunk_size=3_000_000, size=1_000)
    blocks = index_of(path).files[0].blocks
    assert len(blocks) == (12 if compression == CompressionType.NONE else 2)


@pytest.mark.parametrize(
    ("qos", "latched", "depth", "lifespan_ns"),
    [
        ("", False, 1, None),
        (QOS.format(3, 0, 2, 10), False, 1, None),
        (QOS.format(3, 0, 1, 10), True, 1, 10**10),
        (QOS.format(1, 7, 1, 9223372036), True, 7, None),
        (QOS.format("keep_last", 5, "transient_local", 0), True, 5, None),
        (QOS.format("keep_all", 5, 2, 0) + "\n" + QOS.format(1, 5, "Transient_Local", 2**31 - 1), True, 5, None),
        (QOS.format(1, 10**15, 1, 10), True, 1000, 10**10),
        ("durability: 1", False, 1, None),
        ("- [1]", False, 1, None),
        ("- &a {durability: 1, b: *a}", False, 1, None),
        ("{" * 5000, False, 1, None),
    ],
)
def test_latched_topics_are_known_however_their_qos_is_written(
    tmp_path: Path, qos: str, latched: bool, depth: int, lifespan_ns: int | None
) -> None:
    topic = index_of(with_qos(write_db3(tmp_path / "x.db3", messages(3, topics=1)), qos)).topics[0]
    assert (topic.latched, topic.depth, topic.lifespan_ns) == (latched, depth, lifespan_ns)


def test_static_frames_are_latched_whatever_is_said_of_them(tmp_path: Path) -> None:
    index = index_of(write_db3(tmp_path / "x.db3", [("/tf_static", START), ("/tf", START)]))
    assert {topic.name: topic.latched for topic in index.topics} == {"/tf_static": True, "/tf": False}


@pytest.mark.parametrize(
    "offered",
    ['"- durability: 1\\n  history: 1\\n  depth: 1"', "[{durability: transient_local, history: keep_last, depth: 1}]"],
)
def test_what_metadata_says_of_qos_counts_where_the_file_says_nothing(tmp_path: Path, offered: str) -> None:
    write_db3(tmp_path / "bag" / "x.db3", messages(3, topics=1))
    metadata = write_metadata(tmp_path / "bag", ["x.db3"], messages(3, topics=1))
    more = f"serialization_format: cdr, offered_qos_profiles: {offered}"
    metadata.write_text(metadata.read_text().replace("serialization_format: cdr", more))
    assert [topic.latched for topic in index_of(tmp_path / "bag").topics] == [True]


def test_rows_of_a_log_are_read_with_the_whole_file(tmp_path: Path) -> None:
    kill_writer(tmp_path / "bag" / "x.db3", committed=50, uncommitted=200, journal="WAL")
    index = index_of(tmp_path / "bag")
    assert [(file.whole, file.beside, file.count) for file in index.files] == [(True, ("x.db3-wal",), 50)]
    assert [t_ns for _, t_ns, _ in extracted(tmp_path / "bag", index)] == list(range(START, START + 50))
    assert len(extracted(tmp_path / "bag", index, start_ns=START + 10, end_ns=START + 20)) == 10


@pytest.mark.parametrize("make", [write_db3, write_mcap])
def test_packed_files_are_read_as_a_whole(tmp_path: Path, make: Callable[..., Path]) -> None:
    plain = make(tmp_path / ("x.db3" if make is write_db3 else "x.mcap"), messages(50))
    expected = extracted(plain)
    packed = tmp_path / "bag" / f"{plain.name}.zstd"
    packed.parent.mkdir()
    packed.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
    index = index_of(tmp_path / "bag")
    assert [(file.whole, file.count, len(file.blocks)) for file in index.files] == [(True, 50, 0)]
    assert extracted(tmp_path / "bag", index) == expected
    assert extracted(tmp_path / "bag", index, start_ns=START - 5, end_ns=START) == []


def test_rows_that_only_sqlite_can_read_are_read_through_it(tmp_path: Path) -> None:
    rows = "INSERT INTO messages VALUES (1, 1, 5, x'0a'), (2, 1, 6, 'text')"
    table = "id INTEGER PRIMARY KEY, topic_id, timestamp, data) WITHOUT ROWID"
    extra = f"DROP TABLE messages; CREATE TABLE messages({table}; {rows}"
    path = write_db3(tmp_path / "x.db3", messages(1, topics=1), extra=extra)
    index = index_of(path)
    assert [(file.whole, file.salvage, file.count) for file in index.files] == [(True, True, 2)]
    assert extracted(path, index) == [("/t0", 5, b"\n"), ("/t0", 6, b"text")]


def test_columns_are_read_in_the_order_that_is_declared(tmp_path: Path) -> None:
    table = "data BLOB, more TEXT, timestamp INTEGER, id INTEGER PRIMARY KEY, topic_id INTEGER)"
    rows = "INSERT INTO messages VALUES (x'0a', 'm', 5, 1, 1), (zeroblob(100000), 'm', 6, 2, 1)"
    extra = f"DROP TABLE messages; CREATE TABLE messages({table}; {rows}"
    path = write_db3(tmp_path / "x.db3", messages(1, topics=1), extra=extra)
    index = index_of(path)
    assert [file.whole for file in index.files] == [False]
    assert extracted(path, index) == [("/t0", 5, b"\n"), ("/t0", 6, bytes(100_000))]


def kept(path: Path) -> dict[str, Any]:
    """The JSON of a recording's index."""
    found: dict[str, Any] = json.loads(zstandard.ZstdDecompressor().decompress(pack(index_of(path))))
    return found


def packed(found: Any) -> bytes:
    return zstandard.ZstdCompressor().compress(json.dumps(found).encode())


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(found: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for step in way:
            found = found[int(step)] if step.isdecimal() else found[step]  # type: ignore[call-overload]
        if isinstance(found, list):
            found[int(last)] = value
        else:
            found[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 2),
        ("topics", {}),
        ("topics.0.name", 5),
        ("topics.0.name", "\ud800"),
        ("topics.0.definition", 99),
        ("topics.0.depth", 0),
        ("topics.0.latched", 1),
        ("definitions", [{"encoding": "x", "base64": "?"}]),
        ("files.0.name", "../x.db3"),
        ("files.0.name", "x.txt"),
        ("files.0.beside", ["/etc/passwd"]),
        ("files.0.size", -1),
        ("files.0.size", 10),
        ("files.0.storage", "tape"),
        ("files.0.topics.0.1", 50),
        ("files.0.topics", [[1]]),
        ("files.0.layout.page_bytes", 0),
        ("files.0.layout.usable", 100_000),
        ("files.0.layout.topic", -1),
        ("files.0.blocks.first_ns", []),
        ("files.0.blocks.first_ns.0", 2**63),
        ("files.0.blocks.first_ns.0", 1.5),
        ("files.0.blocks.first_ns.0", True),
        ("files.0.blocks.last_ns.0", -1),
        ("files.0.blocks.counts.0", 0),
        ("files.0.blocks.topics.0", 7),
        ("files.0.blocks.extents.0", 2),
        ("files.0.blocks.offsets.0", -4096),
        ("files.0.blocks.lengths.0", 1 << 40),
        ("files.0.blocks.lengths", []),
        ("files.0.topic_sets.0", ["x"]),
        ("files.0.places", [{"topic": 0, "blocks": [9], "counts": [1], "first_ns": [0], "last_ns": [0]}]),
        ("files.0.places", [{"topic": 0, "blocks": [0], "counts": [], "first_ns": [0], "last_ns": [0]}]),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, path: str, value: Any) -> None:
    found = kept(write_db3(tmp_path / "x.db3", messages(20)))
    assert isinstance(unpack(packed(found)), Index)
    change(path, value)(found)
    with pytest.raises(BadIndex):
        unpack(packed(found))


@pytest.mark.parametrize(
    "content",
    [b"", b"text", packed(None), packed([]), packed({}), zstandard.ZstdCompressor().compress(b"[" * 100_000)],
)
def test_what_is_no_index_is_refused(content: bytes) -> None:
    with pytest.raises(BadIndex):
        unpack(content)


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_codec, "UNPACKED_BYTES", 1 << 20)
    with pytest.raises(BadIndex):
        unpack(zstandard.ZstdCompressor().compress(bytes(1 << 24)))


def test_definitions_that_are_no_text_are_kept_as_they_are(tmp_path: Path) -> None:
    from mcap.writer import Writer

    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("a.B", "protobuf", b"\xff\x00\x80")
        writer.add_message(writer.register_channel("/t", "protobuf", schema), 5, b"x", 5)
        writer.finish()  # type: ignore[no-untyped-call]
    assert [definition.data for definition in index_of(tmp_path / "x.mcap").definitions] == [b"\xff\x00\x80"]


def test_an_index_too_large_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of(write_db3(tmp_path / "x.db3", messages(20)))
    monkeypatch.setattr(index_codec, "UNPACKED_BYTES", 100)
    with pytest.raises(TooLarge):
        pack(index)
