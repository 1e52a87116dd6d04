"""What a slice says of its topics and of its messages' times, whatever its format. Used by slice_mcap and slice_db3.

What was latched before the start is stored at the start: players wait for the time of each message, and these are to be
heard first. When it was published is kept where the format has a place for it.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from workers.bags.decode import Decoder
from workers.bags.definitions import READABLE_MESSAGES, spelled
from workers.bags.extract import Message
from workers.bags.index import Definition, Index
from workers.bags.rebuild import numbered, rebuild
from workers.bags.recordings import Storage
from workers.bags.scan import Scan

ROS1 = "ros1"


class CannotSlice(Exception):
    """The messages cannot be kept in this format. The text says why."""


class Counted:
    """A stream that knows where it is, though it cannot go back."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._at = out, 0

    def write(self, data: bytes) -> int:
        self._out.write(data)
        self._at += len(data)
        return len(data)

    def flush(self) -> None:
        self._out.flush()

    def tell(self) -> int:
        return self._at


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
        self._scan = Scan()
        self.topics: dict[int, SlicedTopic] = {}

    def stored(self, found: Iterator[Message]) -> Iterator[Message]:
        """The messages as they are to be stored. When one is given its topic is in `topics`, by its number."""
        for message in found:
            if message.topic not in self.topics:
                self.topics[message.topic] = self._topic(message)
            t_ns = max(message.t_ns, self._start_ns)
            topic = self.topics[message.topic]
            counted = self._scan.topic(topic.name, topic.type)
            counted.encoding = topic.encoding
            counted.add(1, t_ns, t_ns)
            counted.offered[topic.profiles] = counted.offered.get(topic.profiles, 0) + 1
            yield message._replace(t_ns=t_ns)

    def metadata(self, storage: Storage, file: str) -> str | None:
        """The metadata.yaml of a folder with this file; None when it would be too long for any reader."""
        return rebuild(storage, {file: self._scan})

    def _topic(self, message: Message) -> SlicedTopic:
        topic = self._index.topics[message.topic]
        ros2 = topic.encoding in READABLE_MESSAGES
        return SlicedTopic(
            topic.name,
            # ROS 1 knows no kinds of types.
            spelled(topic.type) if ros2 else topic.type.replace("/msg/", "/") if topic.encoding == ROS1 else topic.type,
            "cdr" if ros2 else topic.encoding,
            self._decoder.definition(message),
            numbered(topic.qos),
        )
