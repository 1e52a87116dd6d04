"""Gathers the blocks of one data file while it is read. Used by the indexers of each storage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from workers.bags.index import BLOCKS, DEFINITION_BYTES, EXTENTS, Blocks, Definition, Grain, IndexedFile, Places
from workers.bags.limits import INT64_MAX, KIB, MIB
from workers.bags.scan import Tally, greatest, least

# A latched topic in more blocks than this is found soon enough by looking through blocks.
PLACES_PER_TOPIC = 2_000
PLACES = 200_000
# Records that are none of messages are read over in a block, up to this much between two.
GAP_BYTES = 64 * KIB
# Packed chunks are read together until they unpack to this.
UNPACKED_BYTES = MIB


class TooScattered(Exception):
    """More blocks or extents than an index may hold. The text says how many."""


class LocalTopic(NamedTuple):
    """A topic as one file defines it; `qos` is YAML, empty where the file says nothing."""

    name: str
    type: str
    encoding: str
    definition: Definition | None
    qos: str


@dataclass(frozen=True)
class Gathered:
    """What a file was found to hold, by its own numbers of topics: count, first and last time of each."""

    file: IndexedFile
    topics: dict[int, LocalTopic]
    totals: Mapping[int, list[int]]


class Gatherer:
    """Takes blocks in file order. `latched` holds the numbers of topics whose messages' places are kept."""

    def __init__(self) -> None:
        self.topics: dict[int, LocalTopic] = {}
        self.latched: set[int] = set()
        self.totals: dict[int, list[int]] = {}
        self.blocks = Blocks()
        self._sets: dict[frozenset[int], int] = {}
        self._places: dict[int, Places] = {}
        self._dense: set[int] = set()
        self._kept = self._defined = 0

    def definition(self, encoding: str, data: bytes) -> Definition | None:
        """A definition to be kept; None when there is none, or when all of them together are too long."""
        self._defined += len(data)
        return Definition(encoding, data) if (encoding or data) and self._defined <= DEFINITION_BYTES else None

    def add(
        self,
        messages: Iterable[tuple[int, int]],
        extents: list[tuple[int, int]],
        *,
        late: int = 0,
        leaves: int = 0,
        cell: int = -1,
    ) -> None:
        """A block of (topic, time) in order, and `late` ones whose time no slice can reach. Raises TooScattered."""
        tally = Tally()
        tally.add_all(messages)
        found = tally.rows
        if not found:
            return
        number, blocks = len(self.blocks), self.blocks
        blocks.first_ns.append(min(entry[1] for entry in found.values()))
        blocks.last_ns.append(max(entry[2] for entry in found.values()))
        blocks.counts.append(late + sum(entry[0] for entry in found.values()))
        blocks.topics.append(self._sets.setdefault(frozenset(found), len(self._sets)))
        blocks.leaves.append(leaves)
        blocks.cells.append(cell)
        blocks.extents.append(len(extents))
        for offset, length in extents:
            blocks.offsets.append(offset)
            blocks.lengths.append(length)
        if len(blocks) > BLOCKS or len(blocks.offsets) > EXTENTS:
            raise TooScattered(f"{len(blocks)} blocks in {len(blocks.offsets)} extents")
        for topic, entry in found.items():
            self._count(topic, entry, number)

    def _count(self, topic: int, entry: list[int], number: int) -> None:
        total = self.totals.setdefault(topic, [0, entry[1], entry[2]])
        total[:] = total[0] + entry[0], min(total[1], entry[1]), max(total[2], entry[2])
        if topic not in self.latched or topic in self._dense:
            return
        place = self._places.setdefault(topic, Places(topic))
        columns = (place.blocks, place.counts, place.first_ns, place.last_ns)
        for column, value in zip(columns, (number, *entry), strict=True):
            column.append(value)
        self._kept += 1
        if len(place.blocks) > PLACES_PER_TOPIC or self._kept > PLACES:
            self._kept -= len(self._places.pop(topic).blocks)
            self._dense.add(topic)

    def gathered(self, file: IndexedFile) -> Gathered:
        """All of it, in `file`. What belongs to topics the file does not define is left out of the counts."""
        known = {number: total for number, total in self.totals.items() if number in self.topics}
        first = last = None
        for total in known.values():
            first, last = least(first, total[1]), greatest(last, total[2])
        whole = IndexedFile(
            name=file.name,
            size=file.size,
            storage=file.storage,
            layout=file.layout,
            count=sum(total[0] for total in known.values()),
            first_ns=first,
            last_ns=last,
            topic_sets=[sorted(numbers & known.keys()) for numbers in self._sets],
            blocks=self.blocks,
            places=[place for topic, place in self._places.items() if topic in known],
        )
        return Gathered(whole, self.topics, known)


class Run:
    """A block of records that follow each other, as it grows; used by formats that are read from front to back."""

    def __init__(self, gatherer: Gatherer, grain: Grain) -> None:
        self.gatherer, self.grain = gatherer, grain
        self.start = self.stop = self.unpacked = self.late = 0
        self.messages: list[tuple[int, int]] = []
        self.alone = False

    def extend(self, start: int, stop: int, unpacked: int = 0) -> None:
        """Makes these bytes of the file a part of the block at hand, or of a new one."""
        held = self.stop - self.start
        large = stop - start >= self.grain.large or unpacked >= UNPACKED_BYTES
        full = held >= self.grain.block or self.unpacked >= UNPACKED_BYTES or self.alone
        if held and (large or full or start - self.stop > GAP_BYTES):
            self.close()
        self.start = self.start if self.stop else start
        self.stop, self.unpacked, self.alone = stop, self.unpacked + unpacked, large

    def count(self, topic: int, time: int) -> None:
        """A message in the block at hand. One later than any time that can be asked for is only counted."""
        if time <= INT64_MAX:
            self.messages.append((topic, time))
        else:
            self.late += 1

    def close(self, mode: int = -1) -> None:
        """Ends the block at hand: what comes next cannot be read in one go with it."""
        if self.stop:
            self.gatherer.add(self.messages, [(self.start, self.stop - self.start)], late=self.late, cell=mode)
        self.start = self.stop = self.unpacked = self.late = 0
        self.messages, self.alone = [], False
