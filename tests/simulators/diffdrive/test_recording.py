"""A finished recording is a rosbag2 like any other."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability, QosReliability
from rosbags.rosbag2 import Reader

from simulators.diffdrive.messages import TOPICS

from .runs import drive, messages, query


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    drive(folder, goals=2)
    return folder


def test_counts_agree_in_table_metadata_and_reader(output: Path) -> None:
    rows = Counter(topic for topic, _, _ in messages(output))
    told = yaml.safe_load((output / "diffdrive" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    topics = told["topics_with_message_count"]
    assert set(rows) == set(TOPICS)
    assert {entry["topic_metadata"]["name"]: entry["message_count"] for entry in topics} == rows
    assert told["message_count"] == told["files"][0]["message_count"] == rows.total()
    with Reader(output / "diffdrive") as reader:
        assert {connection.topic: connection.msgcount for connection in reader.connections} == rows
        assert sum(1 for _ in reader.messages()) == reader.message_count == rows.total()


def test_metadata_tells_the_times_of_the_table(output: Path) -> None:
    told = yaml.safe_load((output / "diffdrive" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    ((first, last),) = query(output, "SELECT min(timestamp), max(timestamp) FROM messages")
    assert told["version"] == 9
    assert told["starting_time"]["nanoseconds_since_epoch"] == first == 0
    assert told["duration"]["nanoseconds"] == last - first
    assert told["custom_data"] == {"simulator": "diffdrive", "seed": "7"}
    inside = query(output, "SELECT metadata_version, metadata FROM metadata")
    assert [(version, yaml.safe_load(text)) for version, text in inside] == [(9, told)]


def test_every_message_decodes_with_the_definitions_in_the_bag(output: Path) -> None:
    seen: Counter[str] = Counter()
    with AnyReader([output / "diffdrive"]) as reader:
        for connection, stamp, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            seen[connection.topic] += 1
            if header := getattr(message, "header", getattr(message, "clock", None)):
                time = getattr(header, "stamp", header)
                assert time.sec * 10**9 + time.nanosec == stamp
    assert set(seen) == set(TOPICS)


def test_every_type_is_defined_once_with_its_hash(output: Path) -> None:
    assert query(output, "SELECT schema_version, ros_distro FROM schema") == [(4, "jazzy")]
    defined = query(output, "SELECT topic_type, encoding, type_description_hash FROM message_definitions")
    used = query(output, "SELECT DISTINCT type, 'ros2msg', type_description_hash FROM topics")
    assert sorted(defined) == sorted(used)
    assert all(digest.startswith("RIHS01_") for _, _, digest in defined)
    assert dict(query(output, "SELECT topic_type, encoded_message_definition FROM message_definitions"))[
        "tf2_msgs/msg/TFMessage"
    ].startswith("geometry_msgs/TransformStamped[] transforms\n")


def test_latched_topics_offer_transient_local_in_table_and_metadata(output: Path) -> None:
    told = yaml.safe_load((output / "diffdrive" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    beside = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"]["offered_qos_profiles"]
        for entry in told["topics_with_message_count"]
    }
    inside = {
        name: yaml.safe_load(text) for name, text in query(output, "SELECT name, offered_qos_profiles FROM topics")
    }
    assert inside == beside
    latched = {name for name, (profile,) in inside.items() if profile["durability"] == "transient_local"}
    assert latched == {"/tf_static", "/goal"}
    with Reader(output / "diffdrive") as reader:
        for connection in reader.connections:
            assert isinstance(connection.ext, ConnectionExtRosbag2)
            (profile,) = connection.ext.offered_qos_profiles
            assert profile.reliability == QosReliability.RELIABLE
            assert (profile.durability == QosDurability.TRANSIENT_LOCAL) == (connection.topic in latched)


def test_stamps_never_go_back_and_keep_their_rates(output: Path) -> None:
    rows = messages(output)
    stamps = [stamp for _, stamp, _ in rows]
    assert stamps == sorted(stamps)
    for topic, period in {"/clock": 20, "/odom": 20, "/imu/data": 20, "/tf": 20, "/cmd_vel": 40, "/scan": 100}.items():
        times = [stamp for name, stamp, _ in rows if name == topic]
        assert times == [period * 10**6 * number for number in range(1, len(times) + 1)]


def decoded(output: Path, *topics: str) -> list[tuple[str, Any]]:
    """Topic and content of every message of `topics`."""
    with AnyReader([output / "diffdrive"]) as reader:
        return [
            (connection.topic, reader.deserialize(raw, connection.msgtype))
            for connection, _, raw in reader.messages()
            if connection.topic in topics
        ]


def test_frames_lead_from_the_map_to_every_sensor(output: Path) -> None:
    assert {
        transform.child_frame_id: transform.header.frame_id
        for _, message in decoded(output, "/tf", "/tf_static")
        for transform in message.transforms
    } == {
        "odom": "map",
        "base_link": "odom",
        "laser": "base_link",
        "imu_link": "base_link",
        "overhead_camera": "map",
    }


def test_a_level_imu_feels_gravity_and_the_lidar_sees_walls(output: Path) -> None:
    upward = [message.linear_acceleration.z for _, message in decoded(output, "/imu/data")]
    assert np.median(upward) == pytest.approx(9.81, abs=0.1)
    scans = [message for _, message in decoded(output, "/scan")]
    ranges = np.array([scan.ranges for scan in scans])
    assert ranges.shape[1] == 240 == round((scans[0].angle_max - scans[0].angle_min) / scans[0].angle_increment) + 1
    assert np.isfinite(ranges).mean() > 0.9


def test_the_localised_robot_ends_at_the_last_goal(output: Path) -> None:
    goals = [message.pose.position for _, message in decoded(output, "/goal")]
    located, dead_reckoned = decoded(output, "/tf")[-1][1].transforms
    turn = 2 * np.arctan2(located.transform.rotation.z, located.transform.rotation.w)
    offset, step = located.transform.translation, dead_reckoned.transform.translation
    x = offset.x + np.cos(turn) * step.x - np.sin(turn) * step.y
    y = offset.y + np.sin(turn) * step.x + np.cos(turn) * step.y
    assert len(goals) == 2
    assert np.hypot(x - goals[-1].x, y - goals[-1].y) <= 0.13
