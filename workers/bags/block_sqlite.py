"""Reads the rows of a block out of the pages that were fetched of a .db3. Called by extract.py."""

from bisect import bisect_right
from collections.abc import Iterator

from workers.bags.blocks import BlockDamaged, Found, Wanted
from workers.bags.btree import Cell, Layout, Torn, cells, payload, plain_messages, row
from workers.bags.index import Block


def read_rows(block: Block, parts: list[bytes], layout: Layout, wanted: Wanted) -> Iterator[Found]:
    """The wanted rows; `parts` are the bytes of the block's extents. Raises BlockDamaged after what is whole."""
    pages = _Fetched(block, parts, layout)
    topics, start_ns, end_ns = wanted
    count = 0
    for number, content in pages.leaves():
        plain = plain_messages(content, number, layout) if block.cell is None else None
        if plain is not None:
            count += len(plain)
            for topic, time, rowid, start, stop in plain:
                if start_ns <= time < end_ns and topic in topics:
                    yield topic, time, time, rowid, content[start:stop]
            continue
        for cell in _chosen(block, layout, cells(content, number, layout)):
            try:
                found = row(cell, layout, pages.page)
                if found is None:
                    continue
                count += 1
                topic, time, start, stop = found
                if start_ns <= time < end_ns and topic in topics:
                    data = payload(cell, layout, pages.page) if cell.overflow else cell.local
                    yield topic, time, time, cell.rowid, data[start:stop]
            except Torn:
                continue
    if count != block.messages:
        raise BlockDamaged(f"{count} messages in block {block.number} instead of {block.messages}")


def _chosen(block: Block, layout: Layout, found: Iterator[Cell | None]) -> Iterator[Cell]:
    """The one cell of a block that holds a large row; all others but large ones of any other block."""
    for place, cell in enumerate(found):
        if cell is not None and (cell.size < layout.large if block.cell is None else place == block.cell):
            yield cell


class _Fetched:
    """The pages of a block by number."""

    def __init__(self, block: Block, parts: list[bytes], layout: Layout) -> None:
        self.block, self.parts, self.size = block, parts, layout.page_bytes
        self._order = sorted(range(len(parts)), key=lambda at: block.extents[at][0])
        self._starts = [block.extents[at][0] for at in self._order]

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        for (offset, _), part in zip(self.block.extents[: self.block.leaves], self.parts, strict=False):
            for at in range(0, len(part), self.size):
                yield (offset + at) // self.size + 1, part[at : at + self.size].ljust(self.size, b"\0")

    def page(self, number: int) -> bytes:
        offset = (number - 1) * self.size
        at = bisect_right(self._starts, offset) - 1
        if at >= 0:
            within = offset - self._starts[at]
            content = self.parts[self._order[at]][within : within + self.size]
            if content:
                return content.ljust(self.size, b"\0")
        raise Torn(f"page {number} is no part of block {self.block.number}")
