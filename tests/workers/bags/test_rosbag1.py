"""Bags of ROS 1: whole, left open by a killed recorder, cut, broken inside, and of every packing."""

import re
import struct
from pathlib import Path
from typing import Any

import pytest
import zstandard
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore

from tests.workers.bags.conftest import Reader
from tests.workers.bags.making import (
    BAG_MAGIC,
    BAG_PACKERS,
    START,
    bag_bytes,
    bag_chunk,
    bag_connection,
    bag_fields,
    bag_header,
    bag_message,
    bag_record,
    codes,
    messages,
    u32,
    write_db3,
    write_metadata,
)
from workers.bags import limits

BEGIN = BAG_MAGIC + bag_header()
SENT = messages(100)


@pytest.fixture
def read_bag(tmp_path: Path, read: Reader) -> Any:
    def read_bytes(content: bytes, name: str = "x.bag") -> dict[str, Any]:
        (tmp_path / name).write_bytes(content)
        return read(tmp_path / name)

    return read_bytes


@pytest.mark.parametrize("compression", list(BAG_PACKERS))
def test_every_packing_is_read(read_bag: Any, compression: str) -> None:
    found = read_bag(bag_bytes(SENT, compression=compression))
    assert (found["state"], found["messages"], found["problems"]) == ("READY", 100, [])
    assert (found["storage"], found["start_ns"], found["end_ns"]) == ("rosbag1", START, START + 99_000_000)
    assert [(topic["name"], topic["type"], topic["count"], topic["decodable"]) for topic in found["topics"]] == [
        ("/t0", "std_msgs/msg/String", 50, True),
        ("/t1", "std_msgs/msg/String", 50, True),
    ]


@pytest.mark.parametrize("packing", [None, *Writer.CompressionFormat])
def test_what_the_library_writes_is_ready_without_problems(
    tmp_path: Path, read: Reader, packing: Writer.CompressionFormat | None
) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    string = store.types["std_msgs/msg/String"]
    writer = Writer(tmp_path / "x.bag")
    if packing:
        writer.set_compression(packing)
    with writer:
        connection = writer.add_connection("/chatter", string.__msgtype__, typestore=store)
        for index in range(5):
            payload = store.serialize_ros1(string(data=f"message {index}"), string.__msgtype__)
            writer.write(connection, START + index, payload)
    found = read(tmp_path / "x.bag")
    assert (found["state"], found["messages"], found["problems"]) == ("READY", 5, [])


def test_a_packed_bag_is_read_as_a_stream(read_bag: Any) -> None:
    packed = zstandard.ZstdCompressor().compress(bag_bytes(messages(5000)))
    assert read_bag(packed, "x.bag.zstd")["messages"] == 5000
    found = read_bag(packed[: len(packed) // 2], "x.bag.zstd")
    assert (found["state"], codes(found)[-1]) == ("DAMAGED", "compression_broken")


def test_a_bag_its_recorder_did_not_close_is_read_whole(read_bag: Any) -> None:
    found = read_bag(bag_bytes(SENT, closed=False), "x.bag.active")
    assert (found["state"], found["messages"], codes(found)) == ("READY", 100, ["not_closed"])
    found = read_bag(BEGIN, "x.bag.active")
    assert (found["state"], found["messages"], codes(found)) == ("READY", 0, ["not_closed"])


def test_the_chunk_a_killed_recorder_was_writing_is_read_too(read_bag: Any) -> None:
    """Its sizes are written last: until then both are zero, and its records follow."""
    content = bag_connection(0, "/t") + b"".join(bag_message(0, time) for time in range(10))
    for compression, pack in BAG_PACKERS.items():
        empty = bag_record(5, b"", compression=compression.encode(), size=u32(0))
        found = read_bag(BEGIN + empty + pack(content), "x.bag.active")
        assert found["messages"] == 10
        assert codes(found) == (["not_closed"] if compression == "none" else ["not_closed", "truncated"])
    found = read_bag(BEGIN + bag_record(5, b"", compression=b"none", size=u32(0)) + content[:-5], "x.bag.active")
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 9, ["truncated", "not_closed"])


def test_the_end_of_a_cut_chunk_alone_is_lost(read_bag: Any) -> None:
    content = bag_bytes(SENT, each=100)
    heads = [match.start() for match in re.finditer(b"time=", content)]
    for count in (0, 1, 50, 99):
        found = read_bag(content[: heads[count]])
        assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", count, ["truncated"])
        assert found["certificate"]["bytes_skipped"] < 200
    packed = bag_bytes(SENT, each=100, compression="lz4")
    assert read_bag(packed[: len(packed) * 9 // 10])["certificate"]["lost"] is None


def test_a_cut_index_loses_no_message(read_bag: Any) -> None:
    content = bag_bytes(SENT)
    for cut in (content[:-100], content[:-5], content[: len(bag_bytes(SENT, closed=False))]):
        found = read_bag(cut)
        assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 100, ["truncated"])
        assert (found["certificate"]["recovered"], found["certificate"]["lost"]) == (100, 0)
        assert found["certificate"]["by_topic"]["/t0"] == {"recovered": 50, "lost": 0}


@pytest.mark.parametrize("compression", ["bz2", "lz4"])
def test_a_broken_chunk_costs_itself_and_the_index_tells_how_much(read_bag: Any, compression: str) -> None:
    content = bytearray(bag_bytes(SENT, compression=compression))
    place = content.index(BAG_PACKERS[compression](b"")[:4], len(content) // 2)
    content[place : place + 50] = bytes(50)
    found = read_bag(bytes(content))
    assert (found["state"], codes(found)) == ("DAMAGED", ["chunk_unreadable"])
    assert (found["certificate"]["recovered"], found["certificate"]["lost"]) == (90, 10)
    assert found["certificate"]["by_topic"]["/t1"] == {"recovered": 45, "lost": 5}
    assert found["certificate"]["gaps"][0]["unit"] == "byte"


def test_reading_goes_on_at_the_next_chunk_after_bytes_that_are_no_record(read_bag: Any) -> None:
    content = bag_bytes(SENT)
    for broken in (bytes(200), b"\xff" * 200):
        second = content.index(struct.pack("<I", 41), len(BEGIN) + 500)
        found = read_bag(content[:second] + broken + content[second + 200 :])
        assert (found["state"], codes(found)) == ("DAMAGED", ["record_malformed"])
        assert (found["certificate"]["recovered"], found["certificate"]["lost"]) == (90, 10)
        assert found["certificate"]["bytes_skipped"] > 1000
    found = read_bag(bag_bytes(SENT, closed=False) + bytes(3_000_000))
    assert (found["state"], found["messages"]) == ("DAMAGED", 100)
    assert found["certificate"]["bytes_skipped"] == 3_000_000


@pytest.mark.parametrize(("length", "kept"), [(100_000_000, 100), (4_000_000_000, 90)])
def test_a_wrong_length_does_not_hide_the_chunks_behind_it(read_bag: Any, length: int, kept: int) -> None:
    content = bytearray(bag_bytes(SENT, compression="lz4"))
    first = content.index(struct.pack("<I", 40))
    content[first + 44 : first + 48] = struct.pack("<I", length)
    found = read_bag(bytes(content))
    assert (found["state"], found["messages"], codes(found)[-1]) == ("DAMAGED", kept, "record_malformed")


def test_bytes_no_index_knows_are_no_damage(read_bag: Any) -> None:
    """As a tool leaves them that rebuilds the index over a longer one."""
    whole = bag_bytes(SENT)
    index_at = whole.index(bag_connection(0, "/t0"), len(bag_bytes(SENT, closed=False)) - 10)
    junk = bytes(49)
    moved = bag_header(index_at + len(junk), 2, 10)
    found = read_bag(BAG_MAGIC + moved + whole[len(BAG_MAGIC + moved) : index_at] + junk + whole[index_at:])
    assert (found["state"], found["messages"], codes(found)) == ("READY", 100, ["unknown_bytes"])
    found = read_bag(whole + b"\0more")
    assert (found["state"], codes(found)) == ("READY", ["trailing_bytes"])


def test_messages_of_unknown_connections_are_damage(read_bag: Any) -> None:
    content = bag_connection(0, "/t") + bag_message(0, 1) + bag_message(7, 2)
    found = read_bag(BEGIN + bag_chunk(content))
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 1, ["not_closed", "message_without_topic"])


def test_a_connection_known_from_the_index_alone_names_its_messages(read_bag: Any) -> None:
    chunk = bag_chunk(bag_message(0, 1))
    index = bag_connection(0, "/t") + bag_record(6, u32(0) + u32(1), ver=u32(1), count=u32(1))
    found = read_bag(BAG_MAGIC + bag_header(len(BEGIN + chunk), 1, 1) + chunk + index)
    assert (found["state"], found["messages"], found["problems"]) == ("READY", 1, [])


def test_an_index_that_counts_otherwise_is_a_problem(read_bag: Any) -> None:
    chunk = bag_chunk(bag_connection(0, "/t") + bag_message(0, 1))
    index = bag_connection(0, "/t") + bag_record(6, u32(0) + u32(5), ver=u32(1), count=u32(1))
    found = read_bag(BAG_MAGIC + bag_header(len(BEGIN + chunk), 1, 1) + chunk + index)
    assert (found["state"], found["messages"], codes(found)) == ("READY", 1, ["statistics_mismatch"])


def test_fields_come_in_any_order_and_with_others(read_bag: Any) -> None:
    time = struct.pack("<II", 5, 7)
    orders = [
        bag_record(2, b"", conn=u32(0), time=time),
        bag_record(2, b"", time=time, conn=u32(0)),
        bag_record(2, b"", more=b"x", time=time, conn=u32(0)),
    ]
    found = read_bag(BEGIN + bag_chunk(bag_connection(0, "/t") + b"".join(orders)))
    assert (found["state"], found["messages"], found["start_ns"]) == ("READY", 3, 5_000_000_007)


def test_publishers_of_one_topic_count_together(read_bag: Any) -> None:
    content = bag_connection(0, "/t") + bag_connection(1, "/t") + bag_message(0, 1) + bag_message(1, 2)
    found = read_bag(BEGIN + bag_chunk(content))
    assert [(topic["name"], topic["count"]) for topic in found["topics"]] == [("/t", 2)]


@pytest.mark.parametrize(
    ("type_name", "definition", "told", "decodable"),
    [
        ("our_msgs/Thing", "uint8 x", "our_msgs/msg/Thing", True),
        ("our_msgs/msg/Thing", "uint8 x", "our_msgs/msg/Thing", True),
        ("std_msgs/String", " \n", "std_msgs/msg/String", False),
    ],
)
def test_a_topic_is_decodable_when_the_bag_defines_its_type(
    read_bag: Any, type_name: str, definition: str, told: str, decodable: bool
) -> None:
    found = read_bag(BEGIN + bag_chunk(bag_connection(0, "/t", type_name, definition) + bag_message(0, 1)))
    assert [(topic["type"], topic["decodable"]) for topic in found["topics"]] == [(told, decodable)]


def test_a_type_without_fields_is_decodable_without_a_definition(read_bag: Any) -> None:
    content = bag_fields(topic=b"/t", type=b"std_msgs/Empty", md5sum=b"d41d8cd98f00b204e9800998ecf8427e")
    found = read_bag(BEGIN + bag_chunk(bag_record(7, content, conn=u32(0), topic=b"/t") + bag_message(0, 1, b"")))
    assert found["topics"][0]["decodable"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#ROSRECORD V1.2\n" + bytes(100), "format 1.2; only 2.0"),
        (b"#ROSLOG V1.1\n5\n/topic\n", "format 1.1; only 2.0"),
        (b"#ROSBAG V2.1\n" + bytes(100), "format 2.1; only 2.0"),
        (b"#ROSBAG V2", "no ROS 1 bag: it begins with"),
        (b"SQLite format 3\0" + bytes(100), "no ROS 1 bag: it begins with"),
        (BAG_MAGIC + bag_header(encryptor=b"rosbag/AesCbcEncryptor"), "encrypted by 'rosbag/AesCbcEncryptor'"),
    ],
)
def test_what_cannot_be_read_says_why(read_bag: Any, content: bytes, words: str) -> None:
    found = read_bag(content)
    assert (found["state"], found["reason"], codes(found)) == ("REJECTED", "not_a_recording", ["file_not_a_recording"])
    assert words in found["problems"][0]["message"]


def test_a_bag_of_zero_bytes_is_empty(read_bag: Any) -> None:
    assert codes(read_bag(b"")) == ["file_empty"]


@pytest.mark.parametrize(
    "broken",
    [
        bag_record(2, b"", conn=u32(0)),
        bag_record(2, b"", conn=b"\0", time=bytes(8)),
        bag_record(7, bag_fields(topic=b"/u"), conn=u32(1), topic=b"/u"),
        bag_record(7, b"\xff\xff\xff\xff", conn=u32(1), topic=b"/u"),
        bag_record(5, b"abc", size=u32(3)),
        bag_record(6, b"", count=u32(2**31)),
        u32(9) + u32(5) + b"names" + u32(0),
        u32(3) + b"abc" + u32(0),
        u32(5) + u32(0) + b"x" + u32(0),
        u32(8) + u32(2**32 - 1) + b"op=\x02" + u32(0),
    ],
)
def test_records_whose_inside_does_not_fit_are_damage(read_bag: Any, broken: bytes) -> None:
    chunk = bag_chunk(bag_connection(0, "/t") + bag_message(0, 1))
    found = read_bag(BEGIN + broken + chunk)
    assert (found["state"], found["messages"]) == ("DAMAGED", 1)
    assert codes(found)[0] in ("record_malformed", "chunk_unreadable")


def test_records_of_the_future_are_passed_over(read_bag: Any) -> None:
    chunk = bag_chunk(bag_connection(0, "/t") + bag_message(0, 1))
    found = read_bag(BEGIN + bag_record(99, b"what") + chunk)
    assert (found["state"], found["messages"]) == ("READY", 1)


def test_a_chunk_that_ends_inside_a_record_or_holds_others_is_damage(read_bag: Any) -> None:
    content = bag_connection(0, "/t") + bag_message(0, 1)
    for more in (bag_message(0, 2)[:-1], bytes(8), bag_chunk(bag_message(0, 2))):
        found = read_bag(BEGIN + bag_chunk(content + more))
        assert (found["state"], found["messages"], codes(found)[0]) == ("DAMAGED", 1, "record_malformed")


def test_a_chunk_too_large_to_be_held_is_entered(read_bag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORD_BYTES", 10_000)
    sent = messages(200)
    found = read_bag(bag_bytes(sent, each=200))
    assert (found["state"], found["messages"], found["problems"]) == ("READY", 200, [])


def test_a_record_too_large_to_be_held_costs_what_lies_before_the_next_chunk(
    read_bag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECORD_BYTES", 10_000)
    chunk = bag_chunk(bag_connection(0, "/t") + bag_message(0, 1))
    big = bag_record(2, bytes(3_000_000), conn=u32(0), time=bytes(8))
    found = read_bag(BEGIN + chunk + big + chunk)
    assert (found["state"], found["messages"]) == ("DAMAGED", 2)
    assert found["certificate"]["bytes_skipped"] == len(big)
    found = read_bag(BEGIN + chunk + big)
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 1, ["truncated", "not_closed"])


def test_clock_steps_are_counted_in_file_order(read_bag: Any) -> None:
    content = bag_connection(0, "/t") + b"".join(bag_message(0, time) for time in (5, 3, 3, 9, 1))
    assert read_bag(BEGIN + bag_chunk(content) + b"\0\0\0\0")["certificate"]["clock_regressions"] == 2


def test_a_folder_of_bags_is_one_recording_and_lacks_no_metadata(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x_0.bag").write_bytes(bag_bytes(SENT[:50]))
    (tmp_path / "x_1.bag.active").write_bytes(bag_bytes(SENT[50:], closed=False))
    found = read(tmp_path)
    assert (found["state"], found["storage"], found["messages"]) == ("READY", "rosbag1", 100)
    assert (codes(found), found["rebuilt"]) == (["not_closed"], None)


def test_a_metadata_file_may_list_a_bag_of_ros_1(tmp_path: Path, read: Reader) -> None:
    """As the plugin of rosbag2 for them writes it."""
    (tmp_path / "x.bag").write_bytes(bag_bytes(SENT))
    text = write_metadata(tmp_path, ["x.bag"], SENT).read_text().replace("sqlite3", "rosbag_v2")
    (tmp_path / "metadata.yaml").write_text(text)
    found = read(tmp_path)
    assert (found["state"], found["storage"], found["messages"], found["problems"]) == ("READY", "rosbag1", 100, [])


def test_a_bag_of_ros_1_beside_other_files_makes_a_mixed_recording(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.bag").write_bytes(bag_bytes(SENT))
    write_db3(tmp_path / "y.db3", SENT)
    found = read(tmp_path)
    assert (found["storage"], found["messages"], found["rebuilt"]) == ("mixed", 200, None)
