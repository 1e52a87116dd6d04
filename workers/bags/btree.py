"""The b-tree of a SQLite table, page by page (https://www.sqlite.org/fileformat2.html). Used to index a .db3, and to
read rows out of parts of it.
"""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from workers.bags import limits

INTERIOR, LEAF = 0x05, 0x0D
LEAF_HEAD, INTERIOR_HEAD, FILE_HEAD = 8, 12, 100
DEPTH = 32
U16, U32 = Struct(">H"), Struct(">I")
WINDOW_BYTES = limits.MIB
WINDOWS = 8


class Torn(Exception):
    """Bytes that are no page, cell or row. The text says why."""


class Layout(NamedTuple):
    """What reading a table's pages needs: their size, how much of it is usable, the places of three columns, and from
    how many bytes on a row counts as large.
    """

    page_bytes: int
    usable: int
    large: int
    topic: int
    time: int
    data: int


class Cell(NamedTuple):
    """A row of a leaf: its id, the bytes of its payload, the part of it that lies here, the page with the next part."""

    rowid: int
    size: int
    local: bytes
    overflow: int


class Row(NamedTuple):
    """A message's topic and time, and where in the payload its data lies."""

    topic: int
    time: int
    start: int
    stop: int


class Pages:
    """Reads a database's pages by number, through a few windows of the file, the last page filled up with zeros."""

    def __init__(self, descriptor: int, layout: Layout) -> None:
        self.descriptor, self.layout = descriptor, layout
        self.bytes = os.fstat(descriptor).st_size
        self.count = -(-self.bytes // layout.page_bytes)
        self._windows: dict[int, bytes] = {}

    def page(self, number: int) -> bytes:
        if not 0 < number <= self.count:
            raise Torn(f"page {number} of {self.count}")
        at = (number - 1) * self.layout.page_bytes
        window, within = divmod(at, WINDOW_BYTES)
        content = self._windows.get(window) or self._read(window)
        return content[within : within + self.layout.page_bytes].ljust(self.layout.page_bytes, b"\0")

    def _read(self, window: int) -> bytes:
        if len(self._windows) >= WINDOWS:
            del self._windows[next(iter(self._windows))]
        content = self._windows[window] = os.pread(self.descriptor, WINDOW_BYTES, window * WINDOW_BYTES)
        return content


def leaves(pages: Pages, root: int, check: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
    """(number, content) of a table's leaves in the order of rows; what is torn or met twice is left out."""
    met = bytearray(pages.count // 8 + 1)
    stack = [iter([root])]
    while stack:
        number = next(stack[-1], None)
        if number is None:
            stack.pop()
        elif 0 < number <= pages.count and not met[number >> 3] & 1 << (number & 7):
            met[number >> 3] |= 1 << (number & 7)
            check()
            content = pages.page(number)
            kind = content[_head_of(number)]
            if kind == LEAF:
                yield number, content
            elif kind == INTERIOR and len(stack) < DEPTH:
                stack.append(iter(_children(content, number)))


def _head_of(number: int) -> int:
    return FILE_HEAD if number == 1 else 0


def _children(content: bytes, number: int) -> list[int]:
    at = _head_of(number)
    pointers = _pointers(content, at, at + INTERIOR_HEAD)
    numbers = [U32.unpack_from(content, pointer)[0] for pointer in pointers if pointer <= len(content) - 4]
    return [*numbers, U32.unpack_from(content, at + 8)[0]]


def _pointers(content: bytes, at: int, first: int) -> tuple[int, ...]:
    """Where the cells of a page begin; none of a page that counts more than it has room for."""
    count = U16.unpack_from(content, at + 3)[0]
    if first + 2 * count > len(content):
        return ()
    return Struct(f">{count}H").unpack_from(content, first)


def cells(content: bytes, number: int, layout: Layout) -> Iterator[Cell | None]:
    """The cells of a leaf in the order of rows, None for a torn one."""
    at = _head_of(number)
    most = layout.usable - 35
    least = (layout.usable - 12) * 32 // 255 - 23
    for pointer in _pointers(content, at, at + LEAF_HEAD):
        try:
            size, place = varint(content, pointer)
            rowid, place = varint(content, place)
            if size <= most:
                local, overflow = size, 0
            else:
                local = least + (size - least) % (layout.usable - 4)
                local = local if local <= most else least
                overflow = U32.unpack_from(content, place + local)[0]
        except (IndexError, StructError):
            yield None
            continue
        if size > limits.RECORD_BYTES or place + local > layout.usable:
            yield None
        else:
            yield Cell(_signed(rowid), size, content[place : place + local], overflow)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, unsigned, and what comes after it. Raises IndexError past the end."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for place in range(at + 1, at + 8):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


def _signed(number: int) -> int:
    return number - (1 << 64) if number > limits.INT64_MAX else number


def payload(cell: Cell, layout: Layout, page: Callable[[int], bytes]) -> bytes:
    """All of a row, its overflow pages included. Raises Torn when those do not hold it, what `page` raises else."""
    if not cell.overflow:
        return cell.local
    parts, lacking = [cell.local], cell.size - len(cell.local)
    for content in _overflow_pages(cell, layout, page):
        parts.append(content[4 : 4 + min(lacking, layout.usable - 4)])
        lacking -= len(parts[-1])
    return b"".join(parts)


def overflow_numbers(cell: Cell, layout: Layout, page: Callable[[int], bytes]) -> list[int]:
    """The numbers of a row's overflow pages. Raises Torn when the chain ends early."""
    if not cell.overflow:
        return []
    chained = [U32.unpack_from(content)[0] for content in _overflow_pages(cell, layout, page)]
    return [cell.overflow, *chained[:-1]]


def _overflow_pages(cell: Cell, layout: Layout, page: Callable[[int], bytes]) -> Iterator[bytes]:
    number, lacking = cell.overflow, cell.size - len(cell.local)
    while lacking > 0:
        if number <= 1:
            raise Torn(f"row {cell.rowid} ends {lacking} bytes early")
        content = page(number)
        yield content
        number = U32.unpack_from(content)[0]
        lacking -= layout.usable - 4


def row(cell: Cell, layout: Layout, page: Callable[[int], bytes]) -> Row | None:
    """The message that a cell holds, None when it holds none. Raises Torn, and what `page` raises."""
    try:
        return _row(cell.local, cell.size, layout)
    except IndexError:
        pass
    try:
        return _row(payload(cell, layout, page), cell.size, layout)
    except IndexError:
        return None


def _row(data: bytes, size: int, layout: Layout) -> Row | None:
    """The message in the payload of `size` bytes that begins with `data`; IndexError when `data` ends too early."""
    body, _ = varint(data, 0)
    if body > len(data):
        raise IndexError
    plan = _plan(data[:body], layout)
    if plan is None or plan[3] > size:
        return None
    topic, time, start, stop, _ = plan
    return Row(_integer(data, topic), _integer(data, time), start, stop)


Place = tuple[int, int, int]


def plain_rows(content: bytes, number: int, layout: Layout) -> list[tuple[int, int]] | None:
    """(topic, time) of every row of a leaf, when all of them are ordinary messages that lie in it whole and are not
    large; else None, and cells() and row() look closer. One loop, because a recording has millions of rows."""
    at, found = _head_of(number), []
    most, plan_of, integer = min(layout.usable - 35, layout.large - 1), _plan, int.from_bytes
    for pointer in _pointers(content, at, at + LEAF_HEAD):
        place = pointer
        try:
            size = content[place]
            if size >= 0x80:
                place += 1
                if content[place] >= 0x80:
                    return None
                size = (size & 0x7F) << 7 | content[place]
            last = place + 9
            while content[place := place + 1] >= 0x80:  # the row's id
                if place == last:
                    return None
            body = content[place := place + 1]
        except IndexError:
            return None
        if size > most or body >= 0x80 or place + size > layout.usable:
            return None
        plan = plan_of(content[place : place + body], layout)
        if plan is None or plan[4] > size:
            return None
        (kind, start, stop), (sort, begin, end), _, _, _ = plan
        topic = integer(content[place + start : place + stop], "big", signed=True) if kind < 8 else kind - 8
        time = integer(content[place + begin : place + end], "big", signed=True) if sort < 8 else sort - 8
        found.append((topic, time))
    return found


def plain_messages(content: bytes, number: int, layout: Layout) -> list[tuple[int, int, int, int, int]] | None:
    """(topic, time, id, start and stop of the data in the leaf) of every row, where plain_rows has an answer."""
    at, found = _head_of(number), []
    most, plan_of, integer = min(layout.usable - 35, layout.large - 1), _plan, int.from_bytes
    for pointer in _pointers(content, at, at + LEAF_HEAD):
        try:
            size, place = varint(content, pointer)
            rowid, place = varint(content, place)
            body = content[place]
        except IndexError:
            return None
        if size > most or body >= 0x80 or place + size > layout.usable:
            return None
        plan = plan_of(content[place : place + body], layout)
        if plan is None or plan[4] > size:
            return None
        (kind, start, stop), (sort, begin, end), first, last, _ = plan
        topic = integer(content[place + start : place + stop], "big", signed=True) if kind < 8 else kind - 8
        time = integer(content[place + begin : place + end], "big", signed=True) if sort < 8 else sort - 8
        found.append((topic, time, _signed(rowid), place + first, place + last))
    return found


@lru_cache(maxsize=4096)
def _plan(head: bytes, layout: Layout) -> tuple[Place, Place, int, int, int] | None:
    """Where the columns of a row lie that begins with `head`: (kind, start, stop) of topic and time, start and stop of
    the data, and where the last of them stops.
    """
    kinds: list[int] = []
    try:
        body, at = varint(head, 0)
        while len(kinds) <= max(layout.topic, layout.time, layout.data):
            if at >= body:
                return None
            kind, at = varint(head, at)
            kinds.append(kind)
    except IndexError:
        return None
    ends = list(accumulate(map(_stored, kinds), initial=body))
    topic, time, data = ((kinds[at], ends[at], ends[at + 1]) for at in (layout.topic, layout.time, layout.data))
    whole = topic[0] in INTEGERS and time[0] in INTEGERS and data[0] >= 12
    return (topic, time, data[1], data[2], max(topic[2], time[2], data[2])) if whole else None


INTEGERS = frozenset({1, 2, 3, 4, 5, 6, 8, 9})
STORED = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)


def _stored(kind: int) -> int:
    return STORED[kind] if kind < 12 else (kind - 12) // 2


def _integer(data: bytes, place: Place) -> int:
    kind, start, stop = place
    if stop > len(data):
        raise IndexError
    return kind - 8 if kind in (8, 9) else int.from_bytes(data[start:stop], "big", signed=True)


def runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Page numbers as (first, how many) of those that follow each other."""
    cuts = [0, *(at for at, (one, other) in enumerate(pairwise(numbers), start=1) if other != one + 1), len(numbers)]
    return [(numbers[one], other - one) for one, other in pairwise(cuts) if other > one]
