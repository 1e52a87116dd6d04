"""Reads the messages of a time range out of a recording by its index, in order of time, without reading the rest. Used
by the programs that answer messages, cut slices and play back.
"""

import heapq
from collections.abc import Collection, Iterator

from workers.bags import limits
from workers.bags.blocks import CannotExtract
from workers.bags.fetching import Ranges, fetched
from workers.bags.index import Index
from workers.bags.latched import latched_before
from workers.bags.opening import Entry, Message, Opener, Selection

__all__ = ["Message", "Overfull", "messages"]

# Messages of blocks that overlap in time are held until their turn comes, up to this.
HELD_BYTES = 384 * limits.MIB
# What holding a message costs besides its data.
MESSAGE_BYTES = 300


class Overfull(CannotExtract):
    """So many blocks overlap in time that their messages cannot be put in order in bounded memory."""


def messages(
    index: Index,
    ranges: Ranges,
    *,
    start_ns: int,
    end_ns: int,
    topics: Collection[str] | None = None,
    latched: bool = False,
) -> Iterator[Message]:
    """The messages with start <= t < end of the named topics (None: all), by time, then by file and place in it.

    With `latched`, what a late subscriber would have heard at the start comes first, with the times it was sent at.
    Raises CannotExtract and what `ranges` raises; what was given before is right.
    """
    chosen = frozenset(at for at, topic in enumerate(index.topics) if topics is None or topic.name in topics)
    if latched:
        yield from latched_before(index, ranges, start_ns, chosen)
    yield from _in_order(Opener(index, Selection(chosen, start_ns, end_ns)), ranges)


class _Stream:
    """The messages of one block, the next one last."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.bytes = sum([len(entry[-1].data) for entry in entries]) + MESSAGE_BYTES * len(entries)
        entries.reverse()

    def taken(self, until_ns: int, other: Entry | None) -> Iterator[Message]:
        """What comes before a time and before another message."""
        entries = self.entries
        while entries and entries[-1][0] < until_ns and (other is None or entries[-1] <= other):
            yield entries.pop()[-1]

    def __lt__(self, other: "_Stream") -> bool:
        return self.entries[-1] < other.entries[-1]


def _in_order(opener: Opener, ranges: Ranges) -> Iterator[Message]:
    """Merges the blocks, each opened only when the first of its messages may be next."""
    blocks = opener.located()
    parts = fetched(ranges, map(opener.wish, blocks))
    streams: list[_Stream] = []
    held = 0
    for at, block in enumerate(blocks):
        stream = _Stream(opener.opened(block, next(parts)))
        held += stream.bytes
        if held > HELD_BYTES:
            raise Overfull(f"{held} bytes of messages of overlapping blocks")
        if stream.entries:
            heapq.heappush(streams, stream)
        # What comes before the next block's first message comes before all that is not opened yet.
        until_ns = blocks[at + 1].first_ns if at + 1 < len(blocks) else limits.INT64_MAX + 1
        while streams and streams[0].entries[-1][0] < until_ns:
            stream = heapq.heappop(streams)
            yield from stream.taken(until_ns, streams[0].entries[-1] if streams else None)
            if stream.entries:
                heapq.heappush(streams, stream)
            else:
                held -= stream.bytes
