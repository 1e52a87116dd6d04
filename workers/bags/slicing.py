"""What a slice says of its topics and of its messages' times, whatever its format. Used by slice_mcap and slice_db3.

What was latched before the start is stored at the start: players wait for the time of each message, and these are to be
heard first. When it was published is kept where the format has a place for it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from workers.bags.decode import Decoder
from workers.bags.definitions import READABLE_MESSAGES, spelled
from workers.bags.index import Definition, Index
from workers.bags.opening import Message
from workers.bags.rebuild import numbered, rebuild
from workers.bags.recordings import Storage
from workers.bags.scan import Scan

ROS1 = "ros1"


class CannotSlice(Exception):
    """The messages cannot be kept in this format. The text says why."""


class SlicedTopic(NamedTuple):
    """A topic of a slice, in the words of today's readers."""

    name: str
    type: str
    encoding: str
    definition: Definition | None
    profiles: str


class Slice:
    """Takes the messages of a slice in order, and keeps count of them."""

    def __init__(self, index: Index, start_ns: int) -> None:
        self._index, self._start_ns = index, start_ns
        self._decoder = Decoder(index)
        # Messages by topic: how many, first and last time.
        self._counts: dict[int, list[int]] = {}
        self.topics: dict[int, SlicedTopic] = {}

    def stored(self, found: Iterator[Message]) -> Iterator[Message]:
        """The messages as they are to be stored. When one is given its topic is in `topics`, by its number."""
        counts, start_ns = self._counts, self._start_ns
        for message in found:
            topic, t_ns, data, published_ns = message
            if t_ns < start_ns:
                t_ns = start_ns
                message = Message(topic, t_ns, data, published_ns)  # noqa: PLW2901 as it is to be stored
            count = counts.get(topic)
            if count is None:
                self.topics[topic] = self._topic(message)
                count = counts[topic] = [0, t_ns, t_ns]
            count[0] += 1
            count[2] = t_ns
            yield message

    def metadata(self, storage: Storage, file: str) -> str | None:
        """The metadata.yaml of a folder with this file; None when it would be too long for any reader."""
        scan = Scan()
        for number, (count, first_ns, last_ns) in self._counts.items():
            topic = self.topics[number]
            counted = scan.topic(topic.name, topic.type)
            counted.encoding = topic.encoding
            counted.add(count, first_ns, last_ns)
            counted.offered[topic.profiles] = counted.offered.get(topic.profiles, 0) + count
        return rebuild(storage, {file: scan})

    def _topic(self, message: Message) -> SlicedTopic:
        topic = self._index.topics[message.topic]
        ros2 = topic.encoding in READABLE_MESSAGES
        return SlicedTopic(
            topic.name,
            # ROS 1 knows no kinds of types.
            spelled(topic.type) if ros2 else topic.type.replace("/msg/", "/") if topic.encoding == ROS1 else topic.type,
            "cdr" if ros2 else topic.encoding,
            self._decoder.definition(message),
            topic.qos if topic.encoding == ROS1 else numbered(topic.qos),
        )
