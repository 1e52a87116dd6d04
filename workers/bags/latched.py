"""What a late subscriber hears of latched topics: the messages kept for it at some time. Used by extract.py."""

from collections.abc import Iterator
from typing import NamedTuple

from workers.bags import limits
from workers.bags.fetching import Ranges, fetched
from workers.bags.index import Index, IndexedFile
from workers.bags.opening import Entry, Located, Message, NotRestored, Opener, Selection
from workers.bags.qos import STATIC

# For one topic: blocks opened, of /tf_static at a time, messages of that, bytes of messages.
BLOCKS = 64
STATIC_BLOCKS = 2
STATIC_DEPTH = 1_000
KEPT_BYTES = 32 * limits.MIB


class Candidate(NamedTuple):
    """A block that may hold messages of a topic before the start, none later than `last_ns`; `placed`: it does."""

    last_ns: int
    located: Located
    placed: bool


def latched_before(index: Index, ranges: Ranges, start_ns: int, topics: frozenset[int]) -> list[Message]:
    """For each latched topic of `topics` what it had latched at `start_ns`, in order: the last messages as many as its
    QoS keeps, none older than that allows; of /tf_static every different one. Raises CannotExtract.
    """
    chosen: dict[str, set[int]] = {}
    for number in topics:
        if index.topics[number].latched:
            chosen.setdefault(index.topics[number].name, set()).add(number)
    latches = [_Latch(index, frozenset(numbers), start_ns) for numbers in chosen.values()]
    wanted = frozenset(number for numbers in chosen.values() for number in numbers)
    opener = Opener(index, Selection(wanted, limits.INT64_MIN, start_ns))
    while asked := [(latch, block) for latch in latches for block in latch.next_blocks()]:
        blocks = sorted({block for _, block in asked})
        parts = fetched(ranges, map(opener.wish, blocks))
        opened = {block: opener.opened(block, part) for block, part in zip(blocks, parts, strict=True)}
        for latch, block in asked:
            latch.take(opened[block])
    return [message for *_, message in sorted(entry for latch in latches for entry in latch.kept)]


class _Latch:
    """Finds what one topic had latched, the newest first."""

    def __init__(self, index: Index, numbers: frozenset[int], start_ns: int) -> None:
        topics = [index.topics[number] for number in numbers]
        self.numbers = numbers
        self.static = topics[0].name == STATIC
        self.depth = STATIC_DEPTH if self.static else max(topic.depth for topic in topics)
        spans = [topic.lifespan_ns for topic in topics]
        longest = None if self.static or None in spans else max(span for span in spans if span is not None)
        self.oldest_ns = limits.INT64_MIN if longest is None else start_ns - longest
        self.kept: list[Entry] = []
        self._opened = self._known = 0
        self._candidates = sorted(_candidates(index, numbers, start_ns))
        self._placed = all(candidate.placed for candidate in self._candidates)
        if self.static:  # these are told at the beginning, and opened first
            self._candidates += [self._candidates.pop(0) for _ in self._candidates[:STATIC_BLOCKS]]

    def next_blocks(self) -> list[Located]:
        """The blocks to look into next; none when nothing in any other could belong to what is latched."""
        if not self._candidates or self._opened >= BLOCKS:
            return []
        if self.static:
            return self._next_static()
        last_ns, block, _ = self._candidates[-1]
        complete = len(self.kept) >= self.depth and self.kept[0][0] > last_ns
        if complete or last_ns < self.oldest_ns:
            return []
        self._candidates.pop()
        self._opened += 1
        return [block]

    def _next_static(self) -> list[Located]:
        """All where something new is said. In files that do not know that a few at a time, the first and then the
        newest, until a few bring nothing new: who tells static frames again and again mostly tells the same.
        """
        if self._placed:
            taken, self._candidates = self._candidates[-BLOCKS:], []
            return [block for _, block, _ in taken]
        if self._opened > STATIC_BLOCKS and len(self.kept) == self._known:
            return []
        self._known = len(self.kept)
        self._opened += STATIC_BLOCKS
        taken, self._candidates = self._candidates[-STATIC_BLOCKS:], self._candidates[:-STATIC_BLOCKS]
        return [block for _, block, _ in taken]

    def take(self, entries: list[Entry]) -> None:
        """Keeps what is the topic's own and latched."""
        own = [entry for entry in entries if entry[-1].topic in self.numbers and entry[0] >= self.oldest_ns]
        found = sorted(self.kept + own)
        if self.static:
            found = sorted({entry[-1].data: entry for entry in found}.values())
        found = found[-self.depth :]
        size = sum(len(message.data) for *_, message in found)
        while size > KEPT_BYTES and len(found) > 1:
            size -= len(found.pop(0)[-1].data)
        self.kept = found


def _candidates(index: Index, numbers: frozenset[int], start_ns: int) -> Iterator[Candidate]:
    for at, file in enumerate(index.files):
        if numbers.isdisjoint(file.topics.values()) or file.first_ns is None or file.first_ns >= start_ns:
            continue
        if file.whole:
            raise NotRestored(f"{file.name} can be read only as a whole")
        for number, first_ns, last_ns, placed in _blocks_with(file, numbers):
            if first_ns < start_ns:
                located = Located(file.blocks.first_ns[number], at, number)
                yield Candidate(min(last_ns, start_ns - 1), located, placed)


def _blocks_with(file: IndexedFile, numbers: frozenset[int]) -> Iterator[tuple[int, int, int, bool]]:
    """(number, first, last time) of the blocks with these topics, and True; of topics without places the times of the
    block, and False.
    """
    placed = [place for place in file.places if place.topic in numbers]
    for place in placed:
        yield from ((*row, True) for row in zip(place.blocks, place.first_ns, place.last_ns, strict=True))
    others = numbers - {place.topic for place in placed}
    local = {number for number, topic in file.topics.items() if topic in others}
    sets = frozenset(at for at, held in enumerate(file.topic_sets) if not local.isdisjoint(held))
    columns = zip(file.blocks.topics, file.blocks.first_ns, file.blocks.last_ns, strict=True)
    for number, (topics, first_ns, last_ns) in enumerate(columns):
        if topics in sets:
            yield number, first_ns, last_ns, False
