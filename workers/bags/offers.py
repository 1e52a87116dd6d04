"""What metadata.yaml says of topics' quality of service, for data files that do not say it. Used by indexing.py."""

from typing import Any

import yaml

from workers.bags.metadata import load
from workers.bags.rebuild import numbered


def offers(text: bytes) -> dict[str, str]:
    """QoS as YAML text by topic. Raises metadata.Unreadable, and Hostile for a YAML bomb."""
    found: dict[str, str] = {}
    information = _member(load(text), "rosbag2_bagfile_information")
    topics = _member(information, "topics_with_message_count")
    for item in topics if isinstance(topics, list) else []:
        topic = _member(item, "topic_metadata")
        name, offered = _member(topic, "name"), _member(topic, "offered_qos_profiles")
        if isinstance(name, str) and offered:
            # Text up to version 8, a list since.
            profiles: str = offered if isinstance(offered, str) else yaml.safe_dump(offered)
            found[name] = numbered(profiles) or profiles
    return found


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
