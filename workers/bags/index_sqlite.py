"""Indexes a .db3: where the rows of its messages lie in the file, page by page. Called by indexing.py."""

import sqlite3
from itertools import islice
from pathlib import Path

from workers.bags import limits
from workers.bags.btree import Cell, Layout, Pages, Torn, cells, leaves, overflow_numbers, plain_rows, row, runs
from workers.bags.files import Workspace, open_regular
from workers.bags.index import Definition, Grain, IndexedFile
from workers.bags.index_blocks import Gathered, Gatherer, LocalTopic
from workers.bags.problems import NotARecording
from workers.bags.qos import latching
from workers.bags.scan import label
from workers.bags.sqlite import FAULTS, Source, columns, connected, refuse_hostile_schema

ROOT = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = 'messages'"
DEFINITIONS = """SELECT topic_type, encoding, CAST(encoded_message_definition AS BLOB) FROM message_definitions
    WHERE length(encoded_message_definition) > 0"""
DEFINITION_COLUMNS = {"topic_type", "encoding", "encoded_message_definition"}
CLEAN = "ro&immutable=1"
# How far apart the leaves of one block may lie.
SPAN_BYTES = limits.MIB


def index_sqlite(path: Path, grain: Grain, workspace: Workspace) -> Gathered:
    """The blocks of a database that stands by itself. Raises NotARecording, Hostile, TooScattered, sqlite3.Error."""
    gatherer = Gatherer()
    try:
        root, order = _read_schema(path, gatherer, workspace, salvage=False)
    except FAULTS:
        gatherer = Gatherer()
        root, order = _read_schema(path, gatherer, workspace, salvage=True)
    with open_regular(path) as file:
        layout = _layout(file.read(limits.KIB), grain.large, order)
        walk = _Walk(Pages(file.fileno(), layout), grain.block, gatherer, workspace)
        walk.read(root)
        return gatherer.gathered(IndexedFile(path.name, walk.pages.bytes, "sqlite3", layout=layout))


def _read_schema(path: Path, gatherer: Gatherer, workspace: Workspace, *, salvage: bool) -> tuple[int, list[str]]:
    """The first page of the messages, their columns in order; and the topics, which are filled in."""
    with connected(Source(path.absolute(), CLEAN, damaged=salvage), workspace, salvage=salvage) as connection:
        refuse_hostile_schema(connection)
        found = connection.execute(ROOT).fetchone()
        order = list(columns(connection, "messages"))
        if not found or not isinstance(found[0], int) or not {"topic_id", "timestamp", "data"} <= set(order):
            raise NotARecording("a SQLite database without rosbag2's tables")
        _read_topics(connection, gatherer)
        return found[0], order


def _read_topics(connection: sqlite3.Connection, gatherer: Gatherer) -> None:
    """Fills in the topics that a database names, with the definitions it holds."""
    there = columns(connection, "topics").keys()
    encoding = "serialization_format" if "serialization_format" in there else "NULL"
    qos = "offered_qos_profiles" if "offered_qos_profiles" in there else "NULL"
    rows = connection.execute(f"SELECT id, name, type, {encoding}, {qos} FROM topics")  # noqa: S608 two known words
    defined = _definitions(connection, gatherer)
    for number, name, kind, serialization, offered in islice(rows, limits.TOPICS):
        if isinstance(number, int):
            # Events of a service are defined by the service.
            definition = defined.get(str(kind)) or defined.get(str(kind).removesuffix("_Event"))
            spoken = "cdr" if serialization is None else label(str(serialization))
            topic = LocalTopic(label(str(name)), label(str(kind)), spoken, definition, str(offered or ""))
            gatherer.topics[number] = topic
            if latching(topic.name, topic.qos):
                gatherer.latched.add(number)


def _definitions(connection: sqlite3.Connection, gatherer: Gatherer) -> dict[str, Definition | None]:
    if not columns(connection, "message_definitions").keys() >= DEFINITION_COLUMNS:
        return {}
    rows = connection.execute(DEFINITIONS)
    found = ((str(kind), str(encoding), data) for kind, encoding, data in islice(rows, limits.TOPICS))
    return {kind: gatherer.definition(encoding, data) for kind, encoding, data in found}


def _layout(head: bytes, large: int, order: list[str]) -> Layout:
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    usable = page - head[20]
    if page < 512 or page & page - 1 or usable < 480:
        raise NotARecording(f"pages of {page} bytes, of which {usable} are used")
    return Layout(page, usable, large, *(order.index(name) for name in ("topic_id", "timestamp", "data")))


class _Walk:
    """Gathers the messages of one table into blocks."""

    def __init__(self, pages: Pages, block: int, gatherer: Gatherer, workspace: Workspace) -> None:
        self.pages, self.block, self.gatherer, self.workspace = pages, block, gatherer, workspace
        self._messages: list[tuple[int, int]] = []
        self._leaves: list[int] = []
        self._overflow: list[int] = []

    def read(self, root: int) -> None:
        for number, content in leaves(self.pages, root, self.workspace.check_time):
            if self._is_full(number):
                self._close()
            self._leaves.append(number)
            rows = plain_rows(content, number, self.pages.layout)
            if rows is None:
                self._take_all(number, content)
            else:
                self._messages += rows
        self._close()

    def _take_all(self, number: int, content: bytes) -> None:
        for place, cell in enumerate(cells(content, number, self.pages.layout)):
            if cell is not None:
                self._take(number, place, cell)

    def _is_full(self, number: int) -> bool:
        """True when the next leaf is one too many, or far from the first as leaves between large messages are."""
        if not self._leaves:
            return False
        size = self.pages.layout.page_bytes
        held = len(self._leaves) + len(self._overflow)
        return held * size >= self.block or not 0 <= (number - self._leaves[0]) * size < max(SPAN_BYTES, self.block)

    def _take(self, number: int, place: int, cell: Cell) -> None:
        layout, page = self.pages.layout, self.pages.page
        if cell.overflow:
            self.workspace.check_time()
        try:
            chain = overflow_numbers(cell, layout, page)
            found = row(cell, layout, page)
        except Torn:
            return
        if found is None:
            return
        if cell.size < layout.large:
            self._messages.append((found.topic, found.time))
            self._overflow += chain
        else:
            extents = self._extents([number]) + self._extents(chain)
            self.gatherer.add([(found.topic, found.time)], extents, leaves=1, cell=place)

    def _close(self) -> None:
        if self._messages:
            of_leaves = self._extents(self._leaves)
            extents = of_leaves + self._extents(self._overflow)
            self.gatherer.add(self._messages, extents, leaves=len(of_leaves))
        self._messages, self._leaves, self._overflow = [], [], []

    def _extents(self, numbers: list[int]) -> list[tuple[int, int]]:
        size = self.pages.layout.page_bytes
        return [
            ((first - 1) * size, min(count * size, self.pages.bytes - (first - 1) * size))
            for first, count in runs(numbers)
        ]
