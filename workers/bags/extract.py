"""Reads the messages of a time range out of a recording by its index, in order of time, without reading the rest. Used
by the programs that answer messages, cut slices and play back.
"""

import heapq
from collections.abc import Collection, Iterator
from typing import NamedTuple

from workers.bags import limits
from workers.bags.blocks import CannotExtract
from workers.bags.fetching import Ranges, fetched
from workers.bags.index import Index
from workers.bags.latched import latched_before
from workers.bags.opening import Entry, Opener, Selection

# Messages of blocks that overlap in time are held until their turn comes, up to this.
HELD_BYTES = 384 * limits.MIB
# What holding a message costs besides its data.
MESSAGE_BYTES = 300


class Message(NamedTuple):
    """`topic` is a place in Index.topics; `published_ns` is `t_ns` where the file tells no other time."""

    topic: int
    t_ns: int
    data: bytes
    published_ns: int


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
        yield from map(_message, latched_before(index, ranges, start_ns, chosen))
    yield from map(_message, _in_order(Opener(index, Selection(chosen, start_ns, end_ns)), ranges))


def _message(entry: Entry) -> Message:
    return Message(entry.topic, entry.t_ns, entry.data, entry.published_ns)


def _in_order(opener: Opener, ranges: Ranges) -> Iterator[Entry]:
    """Merges the blocks, each opened only when the first of its messages may be next."""
    blocks = opener.located()
    parts = fetched(ranges, map(opener.wish, blocks))
    streams: list[tuple[Entry, list[Entry]]] = []
    held = opened = 0
    while streams or opened < len(blocks):
        while opened < len(blocks) and (not streams or blocks[opened].first_ns <= streams[0][0].t_ns):
            entries = opener.opened(blocks[opened], next(parts))
            opened += 1
            held += sum(len(entry.data) + MESSAGE_BYTES for entry in entries)
            if held > HELD_BYTES:
                raise Overfull(f"{held} bytes of messages of overlapping blocks")
            if entries:
                entries.reverse()
                heapq.heappush(streams, (entries.pop(), entries))
        if streams:
            entry, rest = streams[0]
            held -= len(entry.data) + MESSAGE_BYTES
            yield entry
            if rest:
                heapq.heapreplace(streams, (rest.pop(), rest))
            else:
                heapq.heappop(streams)
