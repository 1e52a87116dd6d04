"""The facts of sound recordings, and of folders whose metadata.yaml tells another story."""

import json
from pathlib import Path
from typing import Any

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from tests.workers.bags.conftest import Reader
from tests.workers.bags.making import START, codes, messages, write_db3, write_mcap, write_metadata


def test_facts_have_the_promised_shape(tmp_path: Path, read: Reader) -> None:
    sent = messages(10)
    write_db3(tmp_path / "bag_0.db3", sent)
    write_metadata(tmp_path, ["bag_0.db3"], sent)
    found = read(tmp_path)
    size = (tmp_path / "bag_0.db3").stat().st_size
    topic = {
        "name": "/t0",
        "type": "std_msgs/msg/String",
        "count": 5,
        "frequency_hz": 500.0,
        "first_ns": START,
        "last_ns": START + 8_000_000,
        "decodable": True,
    }
    second = topic | {"name": "/t1", "first_ns": START + 1_000_000, "last_ns": START + 9_000_000}
    assert found == {
        "state": "READY",
        "reason": None,
        "storage": "sqlite3",
        "files": [
            {"name": "bag_0.db3", "size": size, "role": "data"},
            {"name": "metadata.yaml", "size": (tmp_path / "metadata.yaml").stat().st_size, "role": "metadata"},
        ],
        "topics": [topic, second],
        "messages": 10,
        "start_ns": START,
        "end_ns": START + 9_000_000,
        "duration_seconds": 0.009,
        "problems": [],
        "certificate": None,
        "rebuilt": None,
    }
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("version", [8, 9])
def test_what_the_library_writes_is_ready_without_problems(
    tmp_path: Path, read: Reader, storage: StoragePlugin, version: Any
) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    string = store.types["std_msgs/msg/String"]
    with Writer(tmp_path / "bag", version=version, storage_plugin=storage) as writer:
        connection = writer.add_connection("/chatter", string.__msgtype__, typestore=store)
        for index in range(5):
            payload = store.serialize_cdr(string(data=f"message {index}"), string.__msgtype__)
            writer.write(connection, START + index, payload)
    found = read(tmp_path / "bag")
    assert (found["state"], found["messages"], found["problems"]) == ("READY", 5, [])
    assert found["topics"][0]["decodable"]


def test_an_empty_recording_is_ready(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "x.db3")
    write_metadata(tmp_path, ["x.db3"], [], duration=0, start=9223372036854775807)
    found = read(tmp_path)
    assert (found["state"], found["messages"], found["topics"], found["problems"]) == ("READY", 0, [], [])
    assert (found["start_ns"], found["end_ns"], found["duration_seconds"]) == (None, None, 0.0)


def test_a_single_message_has_no_frequency(tmp_path: Path, read: Reader) -> None:
    found = read(write_mcap(tmp_path / "x.mcap", messages(1)))
    assert found["topics"][0]["frequency_hz"] is None
    assert found["start_ns"] == found["end_ns"] == START


def test_splits_count_together(tmp_path: Path, read: Reader) -> None:
    sent = messages(30, topics=3)
    for number in range(3):
        write_db3(tmp_path / f"bag_{number}.db3", sent[number * 10 : number * 10 + 10])
    write_metadata(tmp_path, [f"bag_{number}.db3" for number in range(3)], sent)
    found = read(tmp_path)
    assert (found["state"], found["messages"], found["problems"]) == ("READY", 30, [])
    assert [topic["count"] for topic in found["topics"]] == [10, 10, 10]
    assert (found["start_ns"], found["end_ns"]) == (sent[0][1], sent[-1][1])


def test_both_storages_in_one_folder_are_mixed(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "x.db3", messages(3))
    write_mcap(tmp_path / "y.mcap", messages(4))
    found = read(tmp_path)
    assert (found["storage"], found["messages"]) == ("mixed", 7)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"message_count": 11}, "metadata_count_mismatch"),
        ({"start": START + 1}, "metadata_time_mismatch"),
        ({"duration": 5}, "metadata_time_mismatch"),
    ],
)
def test_wrong_metadata_is_only_a_problem(tmp_path: Path, read: Reader, changes: dict[str, int], code: str) -> None:
    write_db3(tmp_path / "x.db3", messages(10))
    write_metadata(tmp_path, ["x.db3"], messages(10), **changes)
    found = read(tmp_path)
    assert (found["state"], found["messages"], codes(found)) == ("READY", 10, [code])


def test_missing_metadata_is_only_a_problem(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "bag" / "x.db3", messages(10))
    found = read(tmp_path / "bag")
    assert (found["state"], codes(found)) == ("READY", ["metadata_missing"])


def test_a_missing_split_is_damage_and_its_messages_are_counted_as_lost(tmp_path: Path, read: Reader) -> None:
    sent = messages(30)
    write_db3(tmp_path / "bag_0.db3", sent[:20])
    write_metadata(tmp_path, ["bag_0.db3", "bag_1.db3"], sent)
    found = read(tmp_path)
    assert found["state"] == "DAMAGED"
    assert "file_missing" in codes(found)
    certificate = found["certificate"]
    assert (certificate["recovered"], certificate["lost"]) == (20, 10)
    assert certificate["by_topic"]["/t0"] == {"recovered": 10, "lost": 5}
    assert certificate["metadata"]["claimed"]["messages"] == 30
    assert certificate["metadata"]["found"]["messages"] == 20


def test_a_renamed_file_with_all_messages_is_no_damage(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "renamed.db3", messages(10))
    write_metadata(tmp_path, ["bag_0.db3"], messages(10))
    found = read(tmp_path)
    assert found["state"] == "READY"
    assert set(codes(found)) == {"file_unlisted", "file_renamed"}


def test_a_stray_beside_a_complete_list_is_not_counted(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "bag_0.db3", messages(10))
    write_db3(tmp_path / "other.db3", messages(99))
    (tmp_path / "empty.db3").touch()
    write_metadata(tmp_path, ["bag_0.db3"], messages(10))
    found = read(tmp_path)
    assert (found["state"], found["messages"]) == ("READY", 10)
    assert codes(found).count("file_unlisted") == 2
    assert len(found["files"]) == 4


def test_a_further_split_that_was_never_listed_counts(tmp_path: Path, read: Reader) -> None:
    sent = messages(20)
    write_db3(tmp_path / "bag_0.db3", sent[:10])
    write_db3(tmp_path / "bag_1.db3", sent[10:])
    write_metadata(tmp_path, ["bag_0.db3"], sent[:10])
    assert read(tmp_path)["messages"] == 20


def test_listed_paths_mean_their_last_part_and_nothing_outside(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "bag" / "x.db3", messages(10))
    write_db3(tmp_path / "secret.db3", messages(99))
    write_metadata(tmp_path / "bag", ["../secret.db3", "/etc/passwd", "bag/x.db3"], messages(10))
    found = read(tmp_path / "bag")
    assert found["messages"] == 10
    assert codes(found).count("metadata_path_outside") == 2
    assert codes(found).count("file_missing") == 2


def test_nothing_that_is_a_recording_is_rejected(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "zero.db3").touch()
    (tmp_path / "text.db3").write_text("not a database at all")
    (tmp_path / "text.mcap").write_text("nor this")
    found = read(tmp_path)
    assert (found["state"], found["reason"], found["messages"]) == ("REJECTED", "not_a_recording", 0)
    assert codes(found).count("file_not_a_recording") == 2
    assert "file_empty" in codes(found)


def test_one_worthless_file_among_good_ones_is_damage(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "bag_0.db3", messages(10))
    (tmp_path / "bag_1.db3").touch()
    found = read(tmp_path)
    assert (found["state"], found["messages"]) == ("DAMAGED", 10)
    assert found["certificate"]["lost"] is None


def test_a_file_left_beside_its_packed_twin_counts_once(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "x.db3", messages(10))
    (tmp_path / "x.db3.zstd").write_bytes(b"\x28\xb5\x2f\xfdcut short")
    found = read(tmp_path)
    assert (found["state"], found["messages"]) == ("READY", 10)
    assert "file_duplicate" in codes(found)


def test_one_topic_with_two_types_is_told_once(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "a.db3", messages(3, topics=1))
    change = "UPDATE topics SET type = 'sensor_msgs/msg/Imu'"
    write_db3(tmp_path / "b.db3", messages(5, topics=1), extra=change)
    found = read(tmp_path)
    assert "type_conflict" in codes(found)
    assert [(topic["type"], topic["count"]) for topic in found["topics"]] == [("sensor_msgs/msg/Imu", 8)]


@pytest.mark.parametrize(
    ("type_name", "encoding", "decodable"),
    [
        ("std_msgs/msg/String", "cdr", True),
        ("std_msgs/String", "cdr", True),
        ("geometry_msgs/msg/Pose2D", "", True),
        ("std_msgs/msg/String", "wrong_format", False),
        ("our_msgs/msg/Thing", "cdr", False),
    ],
)
def test_a_topic_is_decodable_when_its_type_is_known_and_it_is_cdr(
    tmp_path: Path, read: Reader, type_name: str, encoding: str, decodable: bool
) -> None:
    change = f"UPDATE topics SET type = '{type_name}', serialization_format = '{encoding}'"
    found = read(write_db3(tmp_path / "x.db3", messages(1), extra=change))
    assert found["topics"][0]["decodable"] is decodable


def test_problems_are_few_however_much_is_wrong(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "x.db3", messages(500, topics=500))
    write_metadata(tmp_path, ["x.db3"], messages(1000, topics=500))
    found = read(tmp_path)
    assert len(found["problems"]) < 30
    assert "more" in codes(found)
