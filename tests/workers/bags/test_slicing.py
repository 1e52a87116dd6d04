"""Slices open in the readers of others, with exactly the messages that were asked for."""

import io
import sqlite3
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_msg

from tests.tars import unpack
from tests.workers.bags.collection import BAGS, recordings
from tests.workers.bags.making import START, TYPE, messages, write_db3, write_mcap
from tests.workers.bags.reading import INT64_MAX, INT64_MIN, Read, extracted, folder_of, index_of
from tests.workers.bags.test_collection import REJECTED
from tests.workers.bags.test_extract import LATCHED, write
from workers.bags import slice_db3
from workers.bags.definitions import READABLE_DEFINITIONS, READABLE_MESSAGES
from workers.bags.extract import messages as extract
from workers.bags.facts import facts
from workers.bags.files import Workspace
from workers.bags.index import Index
from workers.bags.readable import readable
from workers.bags.recordings import Recording, recording_at
from workers.bags.slicing import CannotSlice


class Pipe(io.RawIOBase):
    """A stream that only goes forward."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)

    def tell(self) -> int:
        raise OSError("a pipe has no place")


def sliced(form: str, path: Path, scratch: Path, index: Index | None = None, **window: Any) -> bytes:
    """A slice as it is sent: of everything, but for `window`."""
    from workers.bags.slice_db3 import write_db3 as write_tar
    from workers.bags.slice_mcap import write_mcap as write_file

    window = {"start_ns": INT64_MIN, "end_ns": INT64_MAX} | window
    times = {name: value for name, value in window.items() if name != "topics"}
    pipe = Pipe()
    scratch.mkdir(exist_ok=True)
    workspace = Workspace(scratch, float("inf"))
    with readable(index or index_of(path), folder_of(path), workspace, **times) as (parted, ranges):
        found = extract(parted, ranges, **window)
        with io.BufferedWriter(pipe) as out:
            if form == "mcap":
                write_file(parted, found, out, name="s", start_ns=window["start_ns"])
            else:
                write_tar(parted, found, out, name="s", start_ns=window["start_ns"], scratch=scratch)
            out.flush()
    assert list(scratch.iterdir()) == []
    return bytes(pipe.content)


def unpacked(content: bytes, folder: Path) -> Path:
    """The folder in a tar."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        unpack(tar, folder)
    assert [path.name for path in sorted((folder / "s").iterdir())] == ["metadata.yaml", "s_0.db3"]
    return folder / "s"


def read_by_mcap(content: bytes) -> list[Read]:
    with io.BytesIO(content) as file:
        found = make_reader(file, validate_crcs=True).iter_messages()
        return [(channel.topic, message.log_time, message.data) for _, channel, message in found]


def read_by_rosbags(path: Path) -> list[Read]:
    with Reader(path) as reader:
        return [(connection.topic, t_ns, bytes(data)) for connection, t_ns, data in reader.messages()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recording" in metafunc.fixturenames:
        found = recordings() if (BAGS / "truth.json").is_file() else ()
        kept = [each for each in found if each.path not in REJECTED]
        metafunc.parametrize("recording", kept, ids=lambda recording: recording.path)


@cache
def index(recording: Recording) -> Index:
    return index_of(recording.location)


def test_every_recording_is_sliced_to_an_mcap(recording: Recording, tmp_path: Path) -> None:
    content = sliced("mcap", recording.location, tmp_path / "scratch", index(recording))
    expected = extracted(recording.location, index(recording))
    assert read_by_mcap(content) == expected
    with io.BytesIO(content) as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(expected)
    assert len(summary.chunk_indexes) > 0 or not expected
    if is_read_by_rosbags(index(recording)):
        assert read_by_rosbags(written(tmp_path / "s.mcap", content)) == expected
    again = facts(recording_at(written(tmp_path / "again.mcap", content)))
    assert (again.state, again.messages, again.problems) == ("READY", len(expected), [])


def is_read_by_rosbags(index: Index) -> bool:
    """True when all of it is CDR, defined in the ways of ROS 2."""
    definitions = {definition.encoding for definition in index.definitions}
    return definitions <= READABLE_DEFINITIONS and {topic.encoding for topic in index.topics} <= READABLE_MESSAGES


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_every_recording_of_ros2_is_sliced_to_a_folder(recording: Recording, tmp_path: Path) -> None:
    if any(topic.encoding == "ros1" for topic in index(recording).topics):
        with pytest.raises(CannotSlice):
            sliced("db3", recording.location, tmp_path / "scratch", index(recording))
        return
    folder = unpacked(sliced("db3", recording.location, tmp_path / "scratch", index(recording)), tmp_path)
    expected = extracted(recording.location, index(recording))
    if is_read_by_rosbags(index(recording)):
        assert read_by_rosbags(folder) == expected
    again = facts(recording_at(folder))
    assert (again.state, again.messages, again.problems) == ("READY", len(expected), [])
    assert extracted(folder) == expected


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """/map is latched at 100 and at 500; /odom is heard every 10 ns from 0 to 990."""
    rows = [("/odom", at, b"\x00\x01\x00\x00" + bytes([at // 10])) for at in range(0, 1000, 10)]
    rows += [("/map", 105, b"\x00\x01\x00\x00a"), ("/map", 505, b"\x00\x01\x00\x00b")]
    return write(tmp_path / "x.db3", rows, {"/map": LATCHED.format(depth=1, lifespan=0)})


def test_what_is_latched_comes_first_at_the_start(bag: Path, tmp_path: Path) -> None:
    window = {"start_ns": 500, "end_ns": 530, "latched": True}
    expected = [("/map", 500), ("/odom", 500), ("/map", 505), ("/odom", 510), ("/odom", 520)]
    content = sliced("mcap", bag, tmp_path / "scratch", **window)
    assert [(topic, t_ns) for topic, t_ns, _ in read_by_mcap(content)] == expected
    folder = unpacked(sliced("db3", bag, tmp_path / "scratch", **window), tmp_path)
    assert [(topic, t_ns) for topic, t_ns, _ in read_by_rosbags(folder)] == expected
    with io.BytesIO(content) as file:
        published = [message.publish_time for _, _, message in make_reader(file).iter_messages()]
    assert published == [105, 500, 505, 510, 520]


def test_profiles_are_kept_with_numbers(bag: Path, tmp_path: Path) -> None:
    with io.BytesIO(sliced("mcap", bag, tmp_path / "scratch")) as file:
        reader = make_reader(file)
        notes = {channel.topic: channel.metadata for _, channel, _ in reader.iter_messages()}
        metadata = {record.name: record.metadata for record in reader.iter_metadata()}
        assert reader.get_header().profile == "ros2"
    assert notes == {"/odom": {"offered_qos_profiles": ""}, "/map": {"offered_qos_profiles": ""}}
    assert yaml.safe_load(metadata["rosbag2"]["serialized_metadata"])["rosbag2_bagfile_information"]["version"] == 5
    full = QOS.replace("transient_local", "1").replace("keep_last", "1")
    whole = write(tmp_path / "y.db3", [("/map", 5, b"")], {"/map": QOS})
    folder = unpacked(sliced("db3", whole, tmp_path / "scratch"), tmp_path)
    information = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    told = information["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"]
    assert yaml.safe_load(told) == yaml.safe_load(full)


QOS = """- history: keep_last
  depth: 5
  reliability: 1
  durability: transient_local
  deadline: {sec: 9223372036, nsec: 854775807}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: 1
  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}
  avoid_ros_namespace_conventions: false"""


def test_a_folder_has_the_tables_and_the_index_of_rosbag2(bag: Path, tmp_path: Path) -> None:
    folder = unpacked(sliced("db3", bag, tmp_path / "scratch"), tmp_path)
    connection = sqlite3.connect(folder / "s_0.db3")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert names == {"schema", "metadata", "topics", "message_definitions", "messages", "timestamp_idx"}
    plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM messages WHERE timestamp > 5").fetchall()
    assert "timestamp_idx" in plan[0][3]
    version, text = connection.execute("SELECT metadata_version, metadata FROM metadata").fetchone()
    assert (version, text) == (5, (folder / "metadata.yaml").read_text())
    connection.close()


@pytest.mark.parametrize("form", ["mcap", "db3"])
def test_types_that_only_distributions_define_are_defined_in_the_slice(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.db3", [("/t", 5, b"\x00\x01\x00\x00\x03\0\0\0hi\0")])
    content = sliced(form, path, tmp_path / "scratch")
    if form == "mcap":
        with io.BytesIO(content) as file:
            schemas = [schema for schema, _, _ in make_reader(file).iter_messages()]
        assert schemas[0] is not None
        name, encoding, text = schemas[0].name, schemas[0].encoding, schemas[0].data.decode()
    else:
        connection = sqlite3.connect(unpacked(content, tmp_path) / "s_0.db3")
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        name, encoding, text = connection.execute(query).fetchone()
        connection.close()
    assert (name, encoding) == (TYPE, "ros2msg")
    assert [field for field, _ in get_types_from_msg(text, TYPE)[TYPE][1]] == ["data"]


@pytest.mark.parametrize("form", ["mcap", "db3"])
def test_a_slice_without_messages_is_whole(bag: Path, tmp_path: Path, form: str) -> None:
    content = sliced(form, bag, tmp_path / "scratch", start_ns=5_000, end_ns=6_000)
    if form == "mcap":
        assert read_by_mcap(content) == []
        assert facts(recording_at(written(tmp_path / "s.mcap", content))).state == "READY"
    else:
        assert read_by_rosbags(unpacked(content, tmp_path)) == []


def test_times_before_1970_are_kept_in_a_folder_only(tmp_path: Path) -> None:
    path = write(tmp_path / "x.db3", [("/t", -5, b""), ("/t", 5, b"")])
    assert len(extracted(unpacked(sliced("db3", path, tmp_path / "scratch"), tmp_path))) == 2
    with pytest.raises(CannotSlice):
        sliced("mcap", path, tmp_path / "scratch")


def test_old_spellings_of_types_are_told_as_today(tmp_path: Path) -> None:
    path = write_db3(tmp_path / "x.db3", messages(1), extra="UPDATE topics SET type = 'std_msgs/String'")
    with Reader(unpacked(sliced("db3", path, tmp_path / "scratch"), tmp_path)) as reader:
        assert [connection.msgtype for connection in reader.connections] == [TYPE]


def test_while_a_folder_is_made_its_beginning_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_db3, "ALIVE_SECONDS", 0.0)
    path = write_mcap(tmp_path / "x.mcap", messages(20))
    content = sliced("db3", path, tmp_path / "scratch")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert [member.name for member in tar.getmembers()] == ["s"] * 21 + ["s/metadata.yaml", "s/s_0.db3"]
    assert read_by_rosbags(unpacked(content, tmp_path))[0][1] == START


def test_a_failure_leaves_no_whole_slice(bag: Path, tmp_path: Path) -> None:
    index = index_of(bag)
    bag.write_bytes(bag.read_bytes()[:8192])
    for form in ("mcap", "db3"):
        with pytest.raises(Exception, match="bytes at"):
            sliced(form, bag, tmp_path / "scratch", index)
