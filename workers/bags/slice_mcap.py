"""A slice as one .mcap, written to a stream as its messages come. Called by workers.excerpt."""

from collections.abc import Iterator
from typing import BinaryIO

from workers.bags.definitions import READABLE_MESSAGES
from workers.bags.index import Definition, Index
from workers.bags.mcap_writing import McapWriter
from workers.bags.opening import Message
from workers.bags.slicing import ROS1, CannotSlice, Slice, SlicedTopic

LIBRARY = "simyard"
UNDEFINED = Definition("", b"")
PROFILES = "offered_qos_profiles"
# What ROS 1 notes of a topic whose last message is heard by who comes late.
LATCHING = {"latching": "1"}


def write_mcap(index: Index, found: Iterator[Message], out: BinaryIO, *, name: str, start_ns: int) -> None:
    """Writes a whole .mcap of the messages. Raises CannotSlice, and what getting the messages raises."""
    profile = _profile(index)
    writer = McapWriter(out, profile, LIBRARY)
    sliced = Slice(index, start_ns)
    schemas: dict[tuple[str, Definition], int] = {}
    channels: dict[int, int] = {}
    for message in sliced.stored(found):
        channel = channels.get(message.topic)
        if channel is None:
            channel = channels[message.topic] = _channel(writer, sliced.topics[message.topic], schemas)
        if message.t_ns < 0:
            raise CannotSlice("MCAP knows no times before 1970")
        writer.add_message(channel, message.t_ns, max(0, message.published_ns), message.data)
    if profile == "ros2" and (metadata := sliced.metadata("mcap", f"{name}.mcap")):
        # Where rosbag2 looks for it, and for the version that says how profiles are spelled.
        writer.add_metadata("rosbag2", {"serialized_metadata": metadata})
    writer.finish()


def _profile(index: Index) -> str:
    """What all messages are, if they are one of these."""
    encodings = {topic.encoding for topic in index.topics}
    return "ros2" if encodings <= READABLE_MESSAGES else "ros1" if encodings == {ROS1} else ""


def _channel(writer: McapWriter, topic: SlicedTopic, schemas: dict[tuple[str, Definition], int]) -> int:
    definition = topic.definition or UNDEFINED
    key = topic.type, definition
    if key not in schemas:
        schemas[key] = writer.add_schema(topic.type, definition.encoding, definition.data) if topic.type else 0
    notes = {PROFILES: topic.profiles} if topic.encoding != ROS1 else LATCHING if topic.profiles else {}
    return writer.add_channel(topic.name, topic.encoding, schemas[key], notes)
