"""Fetches the bytes of blocks: what lies together is asked for together, a bounded part ahead. Used by extract.py."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from workers.bags import limits
from workers.bags.blocks import BlockDamaged
from workers.bags.index import Block, IndexedFile

# Asked for at first, for the first message is waited for; and at most, unless one block is larger.
FIRST_BYTES = 256 * limits.KIB
AHEAD_BYTES = 8 * limits.MIB
# Two stretches this close are cheaper asked for as one.
JOIN_BYTES = 32 * limits.KIB

Extent = tuple[int, int]
Wish = tuple[IndexedFile, Block]


class Ranges(Protocol):
    """Where a recording's files lie. Both raise what they like when they cannot; `read` may give too little."""

    def read(self, name: str, offset: int, length: int) -> bytes: ...

    def whole(self, name: str) -> BinaryIO:
        """The file from its beginning; the caller closes it."""


def fetched(ranges: Ranges, wishes: Iterator[Wish]) -> Iterator[list[bytes]]:
    """The bytes of each block's extents, in order. Nothing is read before it is asked for, but for what is ahead."""
    budget = FIRST_BYTES
    group: list[Wish] = []
    size = 0
    for wish in wishes:
        length = sum(length for _, length in wish[1].extents)
        if group and size + length > budget:
            yield from _read(ranges, group)
            group, size, budget = [], 0, min(budget * 2, AHEAD_BYTES)
        group.append(wish)
        size += length
    yield from _read(ranges, group)


def _read(ranges: Ranges, group: list[Wish]) -> Iterator[list[bytes]]:
    buffers = {}
    for file in {id(file): file for file, _ in group}.values():
        extents = [extent for other, block in group if other is file for extent in block.extents]
        buffers[id(file)] = _Buffer(ranges, file.name, joined(extents))
    for file, block in group:
        yield [buffers[id(file)].part(offset, length) for offset, length in block.extents]


def joined(extents: list[Extent]) -> list[Extent]:
    """The stretches that hold all extents, in order; those nearly next to each other as one."""
    found: list[list[int]] = []
    for offset, length in sorted(extents):
        if found and offset <= found[-1][1] + JOIN_BYTES:
            found[-1][1] = max(found[-1][1], offset + length)
        else:
            found.append([offset, offset + length])
    return [(start, stop - start) for start, stop in found]


class _Buffer:
    """Stretches of one file, read."""

    def __init__(self, ranges: Ranges, name: str, stretches: list[Extent]) -> None:
        self.name = name
        self._starts = [offset for offset, _ in stretches]
        self._parts = [ranges.read(name, offset, length) for offset, length in stretches]

    def part(self, offset: int, length: int) -> bytes:
        at = bisect_right(self._starts, offset) - 1
        start = offset - self._starts[at]
        found = self._parts[at][start : start + length]
        if len(found) != length:
            raise BlockDamaged(f"{self.name}: {len(found)} of {length} bytes at {offset}")
        return found
