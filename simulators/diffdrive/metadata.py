"""The metadata of a rosbag2 recording, version 9, as rosbag2 of ROS 2 Jazzy writes it beside and into its storage.
Format: rosbag2_storage in https://github.com/ros2/rosbag2 (its YAML conversions of BagMetadata and of QoS).
Used by recording.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .messages import DISTRO, TOPICS, Topic, definition
from .yamltext import Value

VERSION = 9
INFINITE = {"sec": 9223372036, "nsec": 854775807}  # what rmw calls an infinite duration
NEVER = 2**63 - 1  # the starting time of a recording without messages


@dataclass
class Summary:
    """What was recorded so far: the first and last stamp in nanoseconds, and each topic's number of messages."""

    first: int = NEVER
    last: int = NEVER
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOPICS, 0))

    def add(self, topic: str, stamp: int) -> None:
        """Count one message more; stamps never go back."""
        self.counts[topic] += 1
        self.first, self.last = min(self.first, stamp), stamp


def describe(summary: Summary, file: str, notes: Mapping[str, str]) -> dict[str, Value]:
    """All that metadata.yaml says about a recording in one `file`; `notes` go under custom_data."""
    extent: dict[str, Value] = {
        "duration": {"nanoseconds": summary.last - summary.first},
        "starting_time": {"nanoseconds_since_epoch": summary.first},
        "message_count": sum(summary.counts.values()),
    }
    return {
        "version": VERSION,
        "storage_identifier": "sqlite3",
        **extent,
        "topics_with_message_count": [
            {"topic_metadata": topic_metadata(name, TOPICS[name]), "message_count": count}
            for name, count in summary.counts.items()
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [{"path": file, **extent}],
        "custom_data": notes,
        "ros_distro": DISTRO,
    }


def topic_metadata(name: str, topic: Topic) -> dict[str, Value]:
    """What is said about one topic."""
    return {
        "name": name,
        "type": topic.type,
        "serialization_format": "cdr",
        "offered_qos_profiles": offered(topic),
        "type_description_hash": definition(topic.type)[1],
    }


def offered(topic: Topic) -> list[Value]:
    """The quality of service its one publisher offers: reliable, and the last message kept if it is latched."""
    return [
        {
            "history": "keep_last",
            "depth": 1 if topic.latched else 10,
            "reliability": "reliable",
            "durability": "transient_local" if topic.latched else "volatile",
            "deadline": INFINITE,
            "lifespan": INFINITE,
            "liveliness": "automatic",
            "liveliness_lease_duration": INFINITE,
            "avoid_ros_namespace_conventions": False,
        }
    ]
