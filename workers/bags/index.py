"""The sidecar index of a recording: which messages lie where, and all that reading them needs besides their bytes.
Built in the cage (indexing.py), written and read back by index_codec.py, used by extract.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple

from workers.bags import limits
from workers.bags.btree import Layout

VERSION = 1
Storage = Literal["sqlite3", "mcap", "rosbag1"]

# Of one recording.
BLOCKS = 400_000
EXTENTS = 2_000_000
PACKED_BYTES = 32 * limits.MIB
UNPACKED_BYTES = 96 * limits.MIB
DEFINITION_BYTES = 16 * limits.MIB
QOS_CHARACTERS = 16_384
FILES = 10_000


class Grain(NamedTuple):
    """How finely a recording is indexed. A block is what is read to get at one message: small enough to waste little,
    large enough to be few. A message of `large` bytes is a block of its own, so that others are read without it.
    """

    block: int
    large: int


def grain_of(total_bytes: int) -> Grain:
    """The grain of a recording by the size of its data files."""
    return Grain(max(256 * limits.KIB, total_bytes // 100_000), max(64 * limits.KIB, total_bytes // 200_000))


@dataclass(frozen=True)
class Definition:
    """How a file defines a type: the bytes as they stand there, and their encoding (ros2msg, ros2idl, protobuf …)."""

    encoding: str
    data: bytes


@dataclass(frozen=True)
class IndexedTopic:
    """A topic as one way of writing it: `definition` is its place in Index.definitions, or None.

    Of a latched topic, `depth` messages not older than `lifespan_ns` are heard by who comes late.
    """

    name: str
    type: str
    encoding: str
    definition: int | None
    qos: str
    latched: bool
    depth: int
    lifespan_ns: int | None
    count: int = 0
    first_ns: int | None = None
    last_ns: int | None = None


class Block(NamedTuple):
    """Messages that are read together: extents (offset, length), of which the first `leaves` are leaves of a b-tree.

    `cell` is None, or in a database the place in its leaf of the only message, a large one; in a bag of ROS 1 how the
    chunk is packed that was cut where the block ends. `messages` is how many there must be,
    those of unknown topics included. `topics` is a place in IndexedFile.topic_sets.
    """

    number: int
    first_ns: int
    last_ns: int
    messages: int
    topics: int
    extents: list[tuple[int, int]]
    leaves: int
    cell: int | None


@dataclass(frozen=True)
class Blocks:
    """The blocks of a file in its order, in columns: one list a field, which JSON carries quickly."""

    first_ns: list[int] = field(default_factory=list)
    last_ns: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    topics: list[int] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    extents: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.first_ns)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(self.extents))

    def block(self, number: int) -> Block:
        stop = self._ends[number]
        start = stop - self.extents[number]
        return Block(
            number,
            self.first_ns[number],
            self.last_ns[number],
            self.counts[number],
            self.topics[number],
            list(zip(self.offsets[start:stop], self.lengths[start:stop], strict=True)),
            self.leaves[number],
            self.cells[number] if self.cells[number] >= 0 else None,
        )

    def overlapping(self, start_ns: int, end_ns: int, sets: frozenset[int]) -> Iterator[int]:
        """Numbers of the blocks that may hold messages with start <= t < end of topics in one of `sets`."""
        columns = zip(self.first_ns, self.last_ns, self.topics, strict=True)
        for number, (first, last, topics) in enumerate(columns):
            if first < end_ns and last >= start_ns and topics in sets:
                yield number


@dataclass(frozen=True)
class Places:
    """Where messages of a latched topic are: for each block that holds some, how many, first and last time."""

    topic: int
    blocks: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)
    last_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class IndexedFile:
    """A data file. `whole`: it can be read only once all of it, and what is `beside` it, was fetched; it has no blocks.

    `salvage`: of a database, only what SQLite can still read of it. `topics` are places in Index.topics by the numbers
    of the file itself. Times are None without messages.
    """

    name: str
    size: int
    storage: Storage
    whole: bool = False
    beside: tuple[str, ...] = ()
    salvage: bool = False
    layout: Layout | None = None
    topics: dict[int, int] = field(default_factory=dict)
    count: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    topic_sets: list[list[int]] = field(default_factory=list)
    blocks: Blocks = field(default_factory=Blocks)
    places: list[Places] = field(default_factory=list)


@dataclass(frozen=True)
class Index:
    """The index of one recording: its topics, the definitions of their types, its counted data files in order."""

    topics: list[IndexedTopic]
    definitions: list[Definition]
    files: list[IndexedFile]
