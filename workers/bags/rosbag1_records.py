"""The records of a ROS 1 bag (http://wiki.ros.org/Bags/Format/2.0): opcodes and the fields facts need. Used by
rosbag1.py.
"""

import re
from collections import Counter
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from workers.bags.records import Malformed

MAGIC = b"#ROSBAG V2.0\n"
# What earlier releases of ROS recorded: another layout, which no tool of today reads.
OLD_MAGIC = re.compile(rb"#ROS(?:BAG|RECORD|LOG) V([0-9]+\.[0-9]+)\n")

MESSAGE, HEADER, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 5, 6, 7

U8, U32, U64, TIME = Struct("<B"), Struct("<I"), Struct("<Q"), Struct("<II")
# The header of a message, its fields in any order: connection, opcode, time.
MESSAGE_HEAD = re.compile(rb"(?:\x09\0{3}conn=(.{4})|\x04\0{3}op=(.)|\x0d\0{3}time=(.{8}))+", re.DOTALL)
MESSAGE_OP = bytes([MESSAGE])
# Where a chunk begins, to go on from after bytes that are no record.
CHUNK_HEAD = re.compile(
    rb"[\x28\x29]\0{3}(?:\x04\0{3}op=\x05|\x09\0{3}size=.{4}|[\x0f\x10]\0{3}compression=(?:none|bz2|lz4)){3}",
    re.DOTALL,
)
CHUNK_HEAD_BYTES = 4 + 41
# The MD5 sum of a message without fields, whose definition is empty.
NOTHING_DEFINED = b"d41d8cd98f00b204e9800998ecf8427e"

Fields = dict[bytes, bytes]


class Connection(NamedTuple):
    """One publisher of a topic; `defined` says whether the bag holds the definition of its type."""

    topic: str
    type: str
    defined: bool


class Chunk(NamedTuple):
    """Packed records and what they become."""

    claimed: int
    compression: str
    packed: bytes

    @property
    def is_open(self) -> bool:
        """Its recorder never came back to write its sizes: its content follows, as far as it was written."""
        return not self.packed and not self.claimed


@dataclass(frozen=True)
class BagHeader:
    """Where the index begins, 0 while the recorder writes, and how many records of each kind are in it."""

    index_at: int
    connections: int
    chunks: int
    encryptor: str


class Index:
    """What a bag says of itself, and how much of that was found: connections, chunks, and messages by connection."""

    def __init__(self) -> None:
        self.header: BagHeader | None = None
        self.connections = self.chunks = 0
        self.listed: Counter[int] = Counter()

    @property
    def at(self) -> int:
        """Where it begins; 0 in a bag that was not closed."""
        return self.header.index_at if self.header else 0

    def add(self, counts: dict[int, int]) -> None:
        """Messages of one more chunk."""
        self.chunks += 1
        self.listed.update(counts)

    def is_complete(self, until: int) -> bool:
        """Everything its header promises was found before the byte `until`, so that the bag is closed."""
        header = self.header
        stated = (header.connections, header.chunks) if header else (0, 0)
        return 0 < self.at <= until and self.connections >= stated[0] and self.chunks >= stated[1]


def read_fields(data: bytes, at: int, stop: int) -> Fields:
    """The name=value fields of a header. Raises Malformed."""
    found: Fields = {}
    while at < stop:
        length = U32.unpack_from(data, at)[0] if stop - at >= U32.size else stop
        at += U32.size
        if length > stop - at:
            raise Malformed(f"a field of {length} bytes where {max(0, stop - at)} are left")
        name, equals, value = data[at : at + length].partition(b"=")
        if not equals:
            raise Malformed("a field without '='")
        found[name] = value
        at += length
    return found


def number(fields: Fields, name: bytes, struct: Struct = U32) -> int:
    value: int = struct.unpack(_sized(fields, name, struct))[0]
    return value


def time_of(fields: Fields, name: bytes) -> int:
    """Nanoseconds; two 32-bit numbers never exceed int64."""
    seconds, nanoseconds = TIME.unpack(_sized(fields, name, TIME))
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def text(fields: Fields, name: bytes) -> str:
    if name not in fields:
        raise Malformed(f"no field {name.decode()}")
    return fields[name].decode("utf-8", "replace")


def read_header(fields: Fields) -> BagHeader:
    return BagHeader(
        number(fields, b"index_pos", U64),
        number(fields, b"conn_count"),
        number(fields, b"chunk_count"),
        fields.get(b"encryptor", b"").decode("utf-8", "replace"),
    )


def read_connection(fields: Fields, content: Fields) -> tuple[int, Connection]:
    """The number of a connection and what it carries; `content` is the header its publisher sent."""
    defined = bool(content.get(b"message_definition", b"").strip())
    defined = defined or content.get(b"md5sum") == NOTHING_DEFINED
    topic = text(fields if b"topic" in fields else content, b"topic")
    return number(fields, b"conn"), Connection(topic, text(content, b"type"), defined)


def read_chunk(fields: Fields, packed: bytes) -> Chunk:
    return Chunk(number(fields, b"size"), text(fields, b"compression"), packed)


def chunk_at(data: bytes, at: int) -> tuple[str, int]:
    """The compression of the chunk that begins there, cut or not, and where its content does; '' when none begins."""
    middle = at + 4 + int(U32.unpack_from(data, at)[0]) if len(data) - at >= 4 else 0
    try:
        fields = read_fields(data, at + 4, middle) if middle + 4 <= len(data) else {}
        return text(fields, b"compression") if fields.get(b"op") == bytes([CHUNK]) else "", middle + 4
    except Malformed:
        return "", middle + 4


def read_counts(fields: Fields, data: bytes, at: int, stop: int) -> dict[int, int]:
    """Messages by connection, as the index counts them for one chunk."""
    count = number(fields, b"count")
    if count * 8 != stop - at:
        raise Malformed(f"{count} counts in {stop - at} bytes")
    pairs = Struct(f"<{2 * count}I").unpack_from(data, at)
    return dict(zip(pairs[0::2], pairs[1::2], strict=True))


def _sized(fields: Fields, name: bytes, struct: Struct) -> bytes:
    value = fields.get(name)
    if value is None or len(value) != struct.size:
        raise Malformed(f"no field {name.decode()} of {struct.size} bytes")
    return value
