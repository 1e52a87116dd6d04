"""Thins the places of /tf_static in an index: all that was ever said there is latched, and some publishers say the same
again and again. Called by indexing.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from workers.bags import limits
from workers.bags.blocks import CannotExtract
from workers.bags.fetching import fetched
from workers.bags.files import Workspace, open_regular
from workers.bags.index import Index, Places
from workers.bags.index_blocks import Gathered
from workers.bags.merging import Merger
from workers.bags.opening import Located, Opener, Selection
from workers.bags.qos import STATIC

DIGEST_BYTES = 16


class StaticFrames:
    """Knows what was said in the files of one recording so far."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: set[bytes] = set()

    def thinned(self, path: Path, gathered: Gathered) -> Gathered:
        """The same, but for places of /tf_static where nothing new is said. Raises Hostile, OSError."""
        static = {number for number, topic in gathered.topics.items() if topic.name == STATIC}
        blocks = sorted({block for place in gathered.file.places if place.topic in static for block in place.blocks})
        if not blocks:
            return gathered
        try:
            kept = frozenset(self._new(path, gathered, blocks))
        except CannotExtract:
            return gathered
        places = [_only(place, kept) if place.topic in static else place for place in gathered.file.places]
        return replace(gathered, file=replace(gathered.file, places=places))

    def _new(self, path: Path, gathered: Gathered, blocks: list[int]) -> Iterator[int]:
        """The blocks in which something is said for the first time."""
        merger = Merger({})
        file = merger.add(gathered)
        index = Index(merger.topics, merger.definitions, [file])
        static = frozenset(number for number, topic in enumerate(index.topics) if topic.name == STATIC)
        opener = Opener(index, Selection(static, limits.INT64_MIN, limits.INT64_MAX))
        located = [Located(file.blocks.first_ns[block], 0, block) for block in blocks]
        with open_regular(path) as content:
            for place, parts in zip(located, fetched(_Local(content), map(opener.wish, located)), strict=True):
                self._workspace.check_time()
                said = {_digest(message.data) for *_, message in opener.opened(place, parts)}
                if not said <= self._known:
                    self._known |= said
                    yield place.number


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def _only(place: Places, kept: frozenset[int]) -> Places:
    columns = zip(place.blocks, place.counts, place.first_ns, place.last_ns, strict=True)
    rows = [row for row in columns if row[0] in kept]
    return Places(place.topic, *(list(column) for column in zip(*rows, strict=True)))


class _Local:
    """Ranges of the one file at hand."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, _name: str, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def whole(self, _name: str) -> BinaryIO:
        return self._file
