"""The index as it is kept: zstd-packed JSON, versioned and bounded. Reading it back trusts nothing, for it was made in
a cage out of hostile bytes. Written by indexing.py, read by whoever reads messages.
"""

import base64
import json
from itertools import accumulate, pairwise
from typing import Any

import zstandard

from workers.bags import limits
from workers.bags.btree import Layout
from workers.bags.index import (
    BLOCKS,
    EXTENTS,
    FILES,
    PACKED_BYTES,
    UNPACKED_BYTES,
    VERSION,
    Blocks,
    Definition,
    Index,
    IndexedFile,
    IndexedTopic,
    Places,
)
from workers.bags.index_checks import BadIndex, Fields, integers
from workers.bags.recordings import role

Json = dict[str, Any]
STORAGES = ("sqlite3", "mcap", "rosbag1")
INT64 = (limits.INT64_MIN, limits.INT64_MAX)


class TooLarge(Exception):
    """The index of this recording would be larger than one may be."""


def pack(index: Index) -> bytes:
    """The bytes to keep. Raises TooLarge."""
    text = json.dumps(_index(index), separators=(",", ":"), allow_nan=False).encode()
    packed = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(text)
    if len(text) > UNPACKED_BYTES or len(packed) > PACKED_BYTES:
        raise TooLarge(f"{len(text)} bytes, packed {len(packed)}")
    return packed


def unpack(packed: bytes) -> Index:
    """The index that `pack` made these bytes of. Raises BadIndex."""
    if len(packed) > PACKED_BYTES:
        raise BadIndex(f"{len(packed)} bytes")
    try:
        unpacker = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW)
        text = unpacker.stream_reader(packed).read(UNPACKED_BYTES + 1)
        found = json.loads(text) if len(text) <= UNPACKED_BYTES else None
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise BadIndex(f"no packed JSON: {str(error)[:200]}") from error
    return _read_index(Fields(found))


def _index(index: Index) -> Json:
    return {
        "version": VERSION,
        "topics": [vars(topic) for topic in index.topics],
        "definitions": [_definition(definition) for definition in index.definitions],
        "files": [_file(file) for file in index.files],
    }


def _definition(definition: Definition) -> Json:
    try:
        return {"encoding": definition.encoding, "text": definition.data.decode()}
    except UnicodeDecodeError:
        return {"encoding": definition.encoding, "base64": base64.b64encode(definition.data).decode()}


def _file(file: IndexedFile) -> Json:
    return vars(file) | {
        "layout": file.layout and file.layout._asdict(),
        "topics": [list(pair) for pair in file.topics.items()],
        "blocks": _blocks(file.blocks),
        "places": [vars(place) for place in file.places],
    }


def _blocks(blocks: Blocks) -> Json:
    """The columns; of those that grow only the differences, which are short."""
    return {
        "first_ns": _differences(blocks.first_ns),
        "last_ns": [last - first for first, last in zip(blocks.first_ns, blocks.last_ns, strict=True)],
        "counts": blocks.counts,
        "topics": blocks.topics,
        "leaves": blocks.leaves,
        "cells": blocks.cells,
        "extents": blocks.extents,
        "offsets": _differences(blocks.offsets),
        "lengths": blocks.lengths,
    }


def _differences(column: list[int]) -> list[int]:
    return [other - one for one, other in pairwise([0, *column])]


def _read_index(fields: Fields) -> Index:
    if fields.integer("version") != VERSION:
        raise BadIndex("another version")
    definitions = [_read_definition(each) for each in fields.objects("definitions", limits.TOPICS)]
    topics = [_read_topic(each, len(definitions)) for each in fields.objects("topics", limits.TOPICS)]
    return Index(topics, definitions, [_read_file(each, len(topics)) for each in fields.objects("files", FILES)])


def _read_definition(fields: Fields) -> Definition:
    encoding = fields.text("encoding")
    if "text" in fields:
        return Definition(encoding, fields.text("text").encode())
    try:
        return Definition(encoding, base64.b64decode(fields.text("base64"), validate=True))
    except ValueError as error:
        raise BadIndex("no base64") from error


def _read_topic(fields: Fields, definitions: int) -> IndexedTopic:
    return IndexedTopic(
        name=fields.text("name"),
        type=fields.text("type"),
        encoding=fields.text("encoding"),
        definition=fields.optional("definition", 0, definitions - 1),
        qos=fields.text("qos"),
        latched=fields.flag("latched"),
        depth=fields.integer("depth", 1, 1_000),
        lifespan_ns=fields.optional("lifespan_ns", 0),
        count=fields.integer("count", 0),
        first_ns=fields.optional("first_ns", *INT64),
        last_ns=fields.optional("last_ns", *INT64),
    )


def _read_file(fields: Fields, topics: int) -> IndexedFile:
    size = fields.integer("size", 0)
    local = fields.pairs("topics", limits.CONNECTIONS)
    integers([place for _, place in local], 0, topics - 1)
    sets = fields.lists("topic_sets", BLOCKS)
    integers([number for each in sets for number in each], *INT64)
    blocks = _read_blocks(fields.object("blocks"), size, len(sets))
    storage = fields.text("storage")
    if storage not in STORAGES:
        raise BadIndex(f"storage {storage[:20]!r}")
    return IndexedFile(
        name=_name(fields.text("name")),
        size=size,
        storage=storage,  # type: ignore[arg-type] # one of STORAGES
        whole=fields.flag("whole"),
        beside=tuple(map(_name, fields.texts("beside", 8))),
        salvage=fields.flag("salvage"),
        layout=_read_layout(fields.object("layout")) if fields.has("layout") else None,
        topics=dict(local),
        count=fields.integer("count", 0),
        first_ns=fields.optional("first_ns", *INT64),
        last_ns=fields.optional("last_ns", *INT64),
        topic_sets=sets,
        blocks=blocks,
        places=[_read_places(each, topics, len(blocks)) for each in fields.objects("places", limits.CONNECTIONS)],
    )


def _name(name: str) -> str:
    """The name of a member of a recording, which leads nowhere else."""
    if "/" in name or not role(name):
        raise BadIndex(f"a file {name[:100]!r}")
    return name


def _read_layout(fields: Fields) -> Layout:
    page = fields.integer("page_bytes", 512, 65536)
    columns = (fields.integer(name, 0, 100) for name in ("topic", "time", "data"))
    return Layout(page, fields.integer("usable", 480, page), fields.integer("large", 1), *columns)


def _read_blocks(fields: Fields, size: int, sets: int) -> Blocks:
    first = integers(list(accumulate(fields.integers("first_ns", BLOCKS))), *INT64)
    spans = integers(fields.integers("last_ns", BLOCKS), 0)
    last = integers([one + span for one, span in zip(first, spans, strict=False)], *INT64)
    offsets = integers(list(accumulate(fields.integers("offsets", EXTENTS))), 0, size)
    lengths = integers(fields.integers("lengths", EXTENTS), 1, size)
    integers([offset + length for offset, length in zip(offsets, lengths, strict=False)], 0, size)
    blocks = Blocks(
        first,
        last,
        integers(fields.integers("counts", BLOCKS), 1),
        integers(fields.integers("topics", BLOCKS), 0, sets - 1),
        integers(fields.integers("leaves", BLOCKS), 0),
        integers(fields.integers("cells", BLOCKS), -1),
        integers(fields.integers("extents", BLOCKS), 1),
        offsets,
        lengths,
    )
    of_blocks = (spans, blocks.counts, blocks.topics, blocks.leaves, blocks.cells, blocks.extents)
    if {len(first)} != {len(column) for column in of_blocks} or len(offsets) != len(lengths):
        raise BadIndex("columns of different lengths")
    if sum(blocks.extents) != len(offsets):
        raise BadIndex("blocks without extents")
    return blocks


def _read_places(fields: Fields, topics: int, blocks: int) -> Places:
    places = Places(
        fields.integer("topic", 0, topics - 1),
        integers(fields.integers("blocks", BLOCKS), 0, blocks - 1),
        integers(fields.integers("counts", BLOCKS), 1),
        integers(fields.integers("first_ns", BLOCKS), *INT64),
        integers(fields.integers("last_ns", BLOCKS), *INT64),
    )
    if len({len(places.blocks), len(places.counts), len(places.first_ns), len(places.last_ns)}) != 1:
        raise BadIndex("columns of different lengths")
    return places
