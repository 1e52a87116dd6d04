"""What reading a block gives and how it fails, whatever the storage. Used by the block_* modules."""

from typing import NamedTuple


class CannotExtract(Exception):
    """The messages asked for cannot be read, or not all of them. The text says why."""


class BlockDamaged(CannotExtract):
    """A block that does not hold what the index says: the file was changed, or cut. The text says how."""


# A message: its file's own number of the topic, when it was recorded and published, its place, which grows in the order
# of the file, and its data. Plain, because a recording has millions of them.
Found = tuple[int, int, int, int, bytes]


class Wanted(NamedTuple):
    """Which messages are asked for: topics by the file's own numbers, start <= t < end."""

    topics: frozenset[int]
    start_ns: int
    end_ns: int
