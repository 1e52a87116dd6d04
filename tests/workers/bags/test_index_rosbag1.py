"""Bags of ROS 1 read by their index: latched topics, cut chunks, packed files, several publishers of a topic."""

from io import BytesIO
from pathlib import Path

import pytest
import zstandard
from mcap.reader import make_reader
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore

from tests.workers.bags.making import TYPE
from tests.workers.bags.reading import extracted, folder_of, index_of
from tests.workers.bags.test_slicing import read_by_mcap, sliced
from workers.bags.decode import Decoder
from workers.bags.extract import Message
from workers.bags.extract import messages as extract
from workers.bags.facts import facts
from workers.bags.recordings import recording_at

TEXT = b"\x02\0\0\0hi"


def write(path: Path, *, compression: Writer.CompressionFormat | None = None, size: int = 0, count: int = 40) -> Path:
    """/map is latched and told at 5 and at 25; two publishers tell /t in turn, every ns."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        publishers = [writer.add_connection("/t", TYPE, typestore=store, callerid=f"/p{at}") for at in range(2)]
        latched = writer.add_connection("/map", TYPE, typestore=store, latching=1)
        for at in range(count):
            writer.write(publishers[at % 2], at, (size + 2).to_bytes(4, "little") + b"hi" + bytes(size))
            if at in (5, 25):
                writer.write(latched, at, TEXT + bytes([at]))
    return path


def test_latching_publishers_make_latched_topics(tmp_path: Path) -> None:
    path = write(tmp_path / "x.bag")
    index = index_of(path)
    assert {topic.name: topic.latched for topic in index.topics} == {"/t": False, "/map": True}
    found = extract(index, folder_of(path), start_ns=20, end_ns=22, latched=True)
    assert [(index.topics[each.topic].name, each.t_ns) for each in found] == [("/map", 5), ("/t", 20), ("/t", 21)]


def test_publishers_of_one_topic_are_one_topic(tmp_path: Path) -> None:
    topics = index_of(write(tmp_path / "x.bag")).topics
    assert sorted((topic.name, topic.type, topic.count) for topic in topics) == [("/map", TYPE, 2), ("/t", TYPE, 40)]


def test_messages_are_told_by_the_definition_in_the_bag(tmp_path: Path) -> None:
    index = index_of(write(tmp_path / "x.bag"))
    assert Decoder(index).value(Message(0, 0, TEXT, 0)) == {"data": "hi"}


def test_a_slice_notes_that_a_topic_was_latched(tmp_path: Path) -> None:
    content = sliced("mcap", write(tmp_path / "x.bag"), tmp_path / "scratch", start_ns=20, end_ns=22, latched=True)
    assert [(topic, t_ns) for topic, t_ns, _ in read_by_mcap(content)] == [("/map", 20), ("/t", 20), ("/t", 21)]
    reader = make_reader(BytesIO(content))
    assert reader.get_header().profile == "ros1"
    found = [(schema, channel) for schema, channel, _ in reader.iter_messages() if schema]
    assert {(schema.name, schema.encoding) for schema, _ in found} == {("std_msgs/String", "ros1msg")}
    assert {channel.topic: channel.metadata for _, channel in found} == {"/t": {}, "/map": {"latching": "1"}}


@pytest.mark.parametrize("compression", [None, *Writer.CompressionFormat])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_of_a_cut_bag_all_is_read_that_facts_count(
    tmp_path: Path, compression: Writer.CompressionFormat | None, share: float
) -> None:
    path = write(tmp_path / "x.bag", compression=compression, size=5_000, count=400)
    whole = extracted(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found = extracted(path)
    assert len(found) == facts(recording_at(path)).messages
    assert sorted(found) == sorted(whole[: len(found)])


def test_a_packed_bag_is_read_as_a_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "x.bag")
    expected = extracted(path)
    packed = path.with_name("x.bag.zstd")
    packed.write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
    path.unlink()
    assert [(file.whole, file.count) for file in index_of(packed).files] == [(True, 42)]
    assert extracted(packed) == expected
