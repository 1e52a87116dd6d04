"""Every readable recording of the collection, read by its index, against readers that know nothing of it."""

import base64
import json
import math
import random
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from tests.workers.bags.collection import BAGS, recordings
from tests.workers.bags.reading import extracted, folder_of, index_of, read_otherwise
from tests.workers.bags.test_collection import REJECTED
from workers.bags.decode import Decoder
from workers.bags.definitions import spelled
from workers.bags.extract import Message, messages
from workers.bags.files import Workspace
from workers.bags.index import Index, IndexedTopic
from workers.bags.readable import readable
from workers.bags.recordings import Recording, storage


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recording" in metafunc.fixturenames:
        found = recordings() if (BAGS / "truth.json").is_file() else ()
        readable = [each for each in found if each.path not in REJECTED]
        metafunc.parametrize("recording", readable, ids=lambda recording: recording.path)


@cache
def index(recording: Recording) -> Index:
    return index_of(recording.location)


def is_ros1(recording: Recording) -> bool:
    return all(storage(file.name) == "rosbag1" for file in index(recording).files)


def comparable(recording: Recording, found: list[Any]) -> list[Any]:
    """In order; of ROS 1 messages of one time in any order, for its reader has its own."""
    return sorted(found, key=lambda read: (read[1], read[0], read[2])) if is_ros1(recording) else found


@cache
def otherwise(recording: Recording) -> list[Any]:
    if recording.path.endswith(".active"):
        return []
    return read_otherwise(recording.location, [file.name for file in index(recording).files])


def test_everything_read_by_the_index_is_what_other_readers_read(recording: Recording) -> None:
    found = extracted(recording.location, index(recording), start_ns=-(2**63), end_ns=2**63 - 1)
    assert comparable(recording, found) == comparable(recording, otherwise(recording))


def test_a_random_moment_is_what_other_readers_read_of_it(recording: Recording) -> None:
    everything = otherwise(recording)
    chance = random.Random(recording.path)
    for _ in range(5):
        times = sorted(chance.choice(everything)[1] + chance.randint(-1, 1) for _ in range(2)) if everything else [0, 1]
        topics = {chance.choice(everything)[0] for _ in range(2)} if everything and chance.random() < 0.5 else None
        found = extracted(recording.location, index(recording), start_ns=times[0], end_ns=times[1], topics=topics)
        expected = [
            read for read in everything if times[0] <= read[1] < times[1] and (topics is None or read[0] in topics)
        ]
        assert comparable(recording, found) == comparable(recording, expected)


def test_what_is_decoded_is_what_rosbags_decodes(recording: Recording, tmp_path: Path) -> None:
    window = {"start_ns": -(2**63), "end_ns": 2**63 - 1}
    workspace = Workspace(tmp_path, time.monotonic() + 100)
    with readable(index(recording), folder_of(recording.location), workspace, **window) as (parted, ranges):
        decoder, oracle = Decoder(parted), Oracle(parted)
        left = dict.fromkeys(range(len(parted.topics)), 50)
        for message in messages(parted, ranges, **window):
            left[message.topic] -= 1
            if left[message.topic] >= 0:
                compare(parted.topics[message.topic], message, json.loads(decoder.line(message)), oracle)


def compare(topic: IndexedTopic, message: Message, line: dict[str, Any], oracle: "Oracle") -> None:
    expected = oracle.value(message)
    assert (line["topic"], line["type"], line["t_ns"]) == (topic.name, topic.type, message.t_ns)
    if topic.encoding == "json":
        assert line["data"] == json.loads(message.data)
    elif expected is not None:
        assert line["data"] == expected, topic.type
    elif line["data"] is None:
        assert base64.b64decode(line["raw"]) == message.data
    else:
        assert is_known_to_be_more(topic)


def is_known_to_be_more(topic: IndexedTopic) -> bool:
    """What rosbags does not decode and we do: events of services, and what a broken definition hid from it."""
    return topic.type.endswith("_Event") or topic.type in ("rcl_interfaces/msg/Log", "test_msgs/msg/Empty")


class Oracle:
    """rosbags, message by message, with the definition in the bag or that of any distribution."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.stores: dict[int, list[Typestore]] = {}

    def value(self, message: Message) -> Any:
        topic = self.index.topics[message.topic]
        if message.topic not in self.stores:
            self.stores[message.topic] = self._made(topic)
        for store in self.stores[message.topic]:
            try:
                if topic.encoding == "ros1":
                    return plain(store, topic.type, store.deserialize_ros1(message.data, topic.type))
                return plain(store, spelled(topic.type), store.deserialize_cdr(message.data, spelled(topic.type)))
            except Exception:  # noqa: BLE001 what this library raises for what does not fit is many things
                continue
        return None

    def _made(self, topic: IndexedTopic) -> list[Typestore]:
        if topic.encoding not in ("cdr", "", "ros1"):
            return []
        if topic.definition is None:
            return [get_typestore(store) for store in reversed(Stores) if store.name.startswith("ROS2")]
        store = get_typestore(Stores.EMPTY)
        try:
            text = self.index.definitions[topic.definition].data.decode()
            store.register(get_types_from_msg(text, spelled(topic.type)))
        except TypesysError:
            return []
        return [store]


def plain(store: Typestore, type_name: str, value: Any) -> Any:
    """A message of rosbags as JSON, by the fields that its definition has."""
    found = {}
    for name, (kind, inner) in store.fielddefs[type_name][1]:
        if name == "structure_needs_at_least_one_member":
            continue
        member = getattr(value, name)
        element = inner[0] if kind.name in ("ARRAY", "SEQUENCE") else (kind, inner)
        found[name] = plain_member(store, element, member, is_list=kind.name in ("ARRAY", "SEQUENCE"))
    return found


def plain_member(store: Typestore, element: Any, member: Any, *, is_list: bool) -> Any:
    kind, inner = element
    if kind.name == "NAME":
        return [plain(store, inner, each) for each in member] if is_list else plain(store, inner, member)
    if is_list and inner[0] in ("uint8", "byte", "char"):
        return base64.b64encode(bytes(np.asarray(member, dtype=np.uint8))).decode()
    values = np.asarray(member).tolist() if is_list and inner[0] != "string" else member
    return [told(each) for each in values] if is_list else told(values)


def told(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
