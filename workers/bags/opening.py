"""Opens blocks: which of them hold what is asked for, and their messages in order. Used by extract and latched."""

from collections.abc import Iterator
from typing import NamedTuple

import zstandard

from workers.bags import limits
from workers.bags.block_mcap import read_records
from workers.bags.block_rosbag1 import read_bag_records
from workers.bags.block_sqlite import read_rows
from workers.bags.blocks import BlockDamaged, CannotExtract, Found, Wanted
from workers.bags.compression import ZSTD_MAGIC
from workers.bags.definitions import READABLE_MESSAGES
from workers.bags.fetching import Wish
from workers.bags.index import Block, Index, IndexedFile


class NotRestored(CannotExtract):
    """A file can be read only as a whole and was not made readable: see readable.py."""


class Selection(NamedTuple):
    """Topics by their places in Index.topics, and start <= t < end."""

    topics: frozenset[int]
    start_ns: int
    end_ns: int


class Located(NamedTuple):
    """A block: when its first message was sent, its file's place in Index.files, its number there."""

    first_ns: int
    file: int
    number: int


class Message(NamedTuple):
    """`topic` is a place in Index.topics; `published_ns` is `t_ns` where the file tells no other time."""

    topic: int
    t_ns: int
    data: bytes
    published_ns: int


# A message as it is sorted: by time, file, and place in that.
Entry = tuple[int, int, int, Message]


class Opener:
    """Finds and opens the blocks of one selection."""

    def __init__(self, index: Index, selection: Selection) -> None:
        self.index = index
        self._range = selection.start_ns, selection.end_ns
        self._wanted = [
            Wanted(frozenset(local for local, topic in file.topics.items() if topic in selection.topics), *self._range)
            for file in index.files
        ]
        self._packable = [topic.encoding in READABLE_MESSAGES for topic in index.topics]

    def located(self) -> list[Located]:
        """The blocks that may hold messages of the selection, by the time of their first. Raises NotRestored."""
        start_ns, end_ns = self._range
        return sorted(self._locate()) if start_ns < end_ns else []

    def _locate(self) -> Iterator[Located]:
        start_ns, end_ns = self._range
        for number, (file, wanted) in enumerate(zip(self.index.files, self._wanted, strict=True)):
            if file.whole and overlaps(file, start_ns, end_ns):
                raise NotRestored(f"{file.name} can be read only as a whole")
            sets = frozenset(at for at, held in enumerate(file.topic_sets) if not wanted.topics.isdisjoint(held))
            for block in file.blocks.overlapping(start_ns, end_ns, sets):
                yield Located(file.blocks.first_ns[block], number, block)

    def wish(self, located: Located) -> Wish:
        """What to fetch."""
        file = self.index.files[located.file]
        return file, file.blocks.block(located.number)

    def opened(self, located: Located, parts: list[bytes]) -> list[Entry]:
        """The messages of the selection in a block's bytes, in order. Raises BlockDamaged."""
        file, block = self.wish(located)
        at, topics, packable, entries = located.file, file.topics, self._packable, []
        for topic, t_ns, published_ns, place, data in _read(file, block, parts, self._wanted[at]):
            number = topics[topic]
            if packable[number] and data[:4] == ZSTD_MAGIC:
                data = unpacked(data)  # noqa: PLW2901 the message itself
            entries.append((t_ns, at, place, Message(number, t_ns, data, published_ns)))
        entries.sort()
        return entries


def overlaps(file: IndexedFile, start_ns: int, end_ns: int) -> bool:
    """True when messages of a file may lie in the range."""
    first_ns, last_ns = file.first_ns, file.last_ns
    return first_ns is not None and last_ns is not None and first_ns < end_ns and last_ns >= start_ns


def unpacked(data: bytes) -> bytes:
    """A message that its recorder packed on its own, as CDR never begins; as it is when it does not unpack."""
    try:
        size = zstandard.frame_content_size(data)
        if size > limits.RECORD_BYTES:
            return data
        unpacker = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW)
        found = unpacker.stream_reader(data).read(limits.RECORD_BYTES + 1)
    except zstandard.ZstdError:
        return data
    return found if len(found) <= limits.RECORD_BYTES and size in (-1, len(found)) else data


def _read(file: IndexedFile, block: Block, parts: list[bytes], wanted: Wanted) -> Iterator[Found]:
    if file.storage == "mcap":
        return read_records(block, parts[0], wanted)
    if file.storage == "rosbag1":
        return read_bag_records(block, parts[0], wanted)
    if file.layout is None:
        raise BlockDamaged(f"{file.name} has blocks and no layout")
    return read_rows(block, parts, file.layout, wanted)
