"""Indexes a bag of ROS 1, also one that was cut: its reader finds the messages, and where they lie is noted here.
Called by indexing.py.
"""

from collections.abc import Iterator
from pathlib import Path

from workers.bags import limits
from workers.bags import rosbag1_records as records
from workers.bags.block_rosbag1 import CUT, message_head
from workers.bags.compression import Stream, opened
from workers.bags.definitions import spelled
from workers.bags.files import Workspace, size_of
from workers.bags.index import Grain, IndexedFile
from workers.bags.index_blocks import Gathered, Gatherer, LocalTopic, Run
from workers.bags.problems import Problems
from workers.bags.qos import latching
from workers.bags.rosbag1 import BagReader
from workers.bags.rosbag1_records import U32, Fields
from workers.bags.scan import label

# What ROS 1 calls latching, in the words of ROS 2.
LATCHED = "- history: keep_last\n  depth: 1\n  durability: transient_local"


def index_rosbag1(path: Path, grain: Grain, workspace: Workspace) -> Gathered:
    """The blocks of a bag as far as it can be read. Raises NotARecording, Hostile, TooScattered, OSError."""
    with opened(path) as stream:
        walk = _Walk(path.name, grain, stream, workspace)
        walk.read()
    walk.run.close()
    return walk.gatherer.gathered(IndexedFile(path.name, size_of(path), "rosbag1"))


class _Walk(BagReader):
    """Finds what its base finds, and where it is."""

    def __init__(self, name: str, grain: Grain, stream: Stream, workspace: Workspace) -> None:
        super().__init__(name, stream, workspace, Problems())
        self.gatherer = Gatherer()
        self.run = Run(self.gatherer, grain)
        # Where in the file the chunk at hand is, and its content, unless that is packed; whether it was read.
        self._extent = 0, 0
        self._inside: int | None = None
        self._entered = False

    def _records(self, data: bytes, nested: bool) -> Iterator[tuple[int, int]]:
        base = self._inside if nested else self.offset
        if nested:
            self._entered = True
            if base is None:
                self.run.extend(*self._extent, len(data))
        at, end, number_at = 0, len(data), U32.unpack_from
        while end - at >= 8 and not self.open_chunk:
            length = number_at(data, at)[0]
            middle = at + 4 + length
            if not 0 < length <= limits.HEADER_BYTES or middle + 4 > end:
                break
            stop = middle + 4 + number_at(data, middle)[0]
            if stop > end:
                if not nested and self._enters(data, at, stop - at):
                    at = middle + 4
                    continue
                break
            head = message_head(data, at + 4, middle)
            if head is None:
                yield from self._handle(data, at, middle, stop, nested)
            else:
                if base is not None:
                    self.run.extend(base + at, base + stop)
                self.run.count(*head)
                yield head
            at = stop
        self.taken = at
        if not nested and not self.open_chunk:
            self.astray = end - at >= 4 and not 0 < number_at(data, at)[0] <= limits.HEADER_BYTES

    def _chunk(self, fields: Fields, packed: bytes, first: int, length: int) -> Iterator[tuple[int, int]]:
        plain = fields.get(b"compression") == b"none"
        self._inside = first + length - len(packed) if plain else None
        self._extent = first, first + length
        self._entered, self.taken = False, -1
        yield from super()._chunk(fields, packed, first, length)
        # What is not read, or not to its end, is no part of a block.
        if not self._entered or (plain and self.taken != len(packed)):
            self.run.close()

    def _read_cut(self, compression: str, packed: bytes) -> None:
        self.run.close()
        stop = self.offset + len(self.window)
        self._inside, self._extent = None, (stop - len(packed), stop)
        super()._read_cut(compression, packed)
        self.run.close(CUT.index(compression) if compression in CUT else -1)

    def _find_next(self) -> None:
        self.run.close()
        super()._find_next()

    def _connect(self, fields: Fields, content: Fields, place: int) -> None:
        super()._connect(fields, content, place)
        number = records.number(fields, b"conn")
        if number in self.gatherer.topics:
            return
        connection = self.connections[number]
        text = content.get(b"message_definition", b"")
        definition = self.gatherer.definition("ros1msg", text) if connection.defined else None
        profiles = LATCHED if content.get(b"latching") == b"1" else ""
        topic = LocalTopic(label(connection.topic), label(spelled(connection.type)), "ros1", definition, profiles)
        self.gatherer.topics[number] = topic
        if latching(topic.name, profiles):
            self.gatherer.latched.add(number)
