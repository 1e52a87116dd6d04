"""Hostile bags of ROS 1: bombs in chunks, headers, lengths and counts that lie."""

import bz2
import os
import struct

from lz4 import frame as lz4  # type: ignore[import-untyped]

from tests.workers.bags.corpus import Case, Maker, file, hostile, later, safe, sparse, worthless
from tests.workers.bags.making import (
    BAG_MAGIC,
    bag_bytes,
    bag_chunk,
    bag_connection,
    bag_fields,
    bag_header,
    bag_message,
    bag_record,
    messages,
    u32,
)

BEGIN = BAG_MAGIC + bag_header() + bag_chunk(bag_connection(0, "/t") + bag_message(0, 1))
SOUND = bag_bytes(messages(20))
TEN = bytes(10 << 20)
OPEN_BZ2 = bag_record(5, b"", compression=b"bz2", size=u32(0))


def bag(*parts: bytes) -> Maker:
    """An open bag of one message, followed by these records."""
    return file("x.bag", BEGIN + b"".join(parts))


def chunk(compression: bytes, packed: bytes, claimed: int) -> bytes:
    return bag_record(5, packed, compression=compression, size=u32(claimed))


def raw(header: bytes, data: bytes = b"") -> bytes:
    """A record whose header is these bytes."""
    return u32(len(header)) + header + u32(len(data)) + data


def head(claimed: int, compression: bytes = b"none") -> bytes:
    """The start of a chunk that says it has so many bytes."""
    return chunk(compression, b"", 5)[:-4] + u32(claimed)


def connections(count: int) -> bytes:
    return b"".join(bag_connection(number, f"/t{number}", definition="") for number in range(1, count + 1))


CASES: dict[str, Case] = {
    "bz2 chunk that claims a gigabyte": hostile(bag(chunk(b"bz2", bz2.compress(TEN), 1 << 30))),
    "bz2 chunk that holds more than it claims": hostile(bag(chunk(b"bz2", bz2.compress(TEN), 1000))),
    "bz2 chunk that holds less than it claims": safe(bag(chunk(b"bz2", bz2.compress(b"a"), 1000)), "chunk_unreadable"),
    "bz2 chunks that unpack to terabytes": hostile(
        later(lambda: bag(*[chunk(b"bz2", bz2.compress(bytes(1 << 27)), 1 << 27)] * 10_000)), seconds=2
    ),
    "bz2 chunk of garbage": safe(bag(chunk(b"bz2", b"BZh9" + os.urandom(1000), 5000)), "chunk_unreadable", 1),
    "open bz2 chunk without end": safe(later(lambda: bag(OPEN_BZ2 + bz2.compress(bytes(260 << 20)))), "truncated", 1),
    "open bz2 chunk of garbage": safe(bag(OPEN_BZ2 + os.urandom(100_000)), "truncated", 1),
    "open chunk of a packing nobody knows": safe(
        bag(bag_record(5, b"", compression=b"\xffharm", size=u32(0)) + bytes(1000)), "truncated", 1
    ),
    "lz4 chunk that holds more than it claims": hostile(bag(chunk(b"lz4", lz4.compress(TEN, store_size=False), 1000))),
    "lz4 chunk that declares what it claims and holds more": safe(
        bag(chunk(b"lz4", lz4.compress(bytes(1000))[:6] + struct.pack("<Q", 999) + lz4.compress(TEN)[14:], 999)),
        "chunk_unreadable",
        1,
    ),
    "lz4 chunk of garbage": safe(bag(chunk(b"lz4", os.urandom(1000), 5000)), "chunk_unreadable", 1),
    "plain chunk that claims four gigabytes": safe(bag(chunk(b"none", bag_message(0, 2), 2**32 - 1)), "", 2),
    "chunk of an unknown packing": safe(bag(chunk(b"zstd", b"abc", 10)), "chunk_unreadable", 1),
    "chunk without a packing": safe(bag(bag_record(5, b"abc", size=u32(3))), "chunk_unreadable", 1),
    "chunk in a chunk in a chunk": safe(bag(bag_chunk(bag_chunk(bag_chunk(bag_message(0, 2))))), "record_malformed", 1),
    "chunk of nothing but lengths": safe(bag(bag_chunk(b"\xff" * 10_000)), "record_malformed", 1),
    "header of four gigabytes": safe(bag(u32(2**32 - 1) + b"op=" * 1000), "record_malformed", 1),
    "header of a negative length": safe(bag(struct.pack("<i", -5) + b"op=" * 1000), "record_malformed", 1),
    "header of no length": safe(bag(bytes(100_000)), "record_malformed", 1),
    "data of four gigabytes": safe(bag(bag_message(0, 2)[:-12] + u32(2**32 - 1) + bytes(1000)), "truncated", 1),
    "field without '='": safe(bag(raw(u32(9) + b"conn:0000")), "record_malformed", 1),
    "field of four gigabytes": safe(bag(raw(u32(2**32 - 1) + b"op=\x02")), "record_malformed", 1),
    "field of no length": safe(bag(raw(bytes(400))), "record_malformed", 1),
    "fields without names": safe(bag(raw((u32(2) + b"=x") * 5_000)), "record_malformed", 1),
    "the same field five thousand times": safe(bag(raw((u32(4) + b"op=\x02") * 5_000)), "record_malformed", 1),
    "message of a long header": safe(bag(bag_record(2, b"", conn=u32(0), time=bytes(8), x=bytes(60_000))), "", 2),
    "opcode of eight bytes": safe(bag(raw(u32(11) + b"op=" + bytes(8))), "record_malformed", 1),
    "connection whose fields lie": safe(bag(bag_record(7, b"\xff" * 100, conn=u32(5), topic=b"/u")), "", 1),
    "index that counts four billion": safe(bag(bag_record(6, bytes(80), ver=u32(1), count=u32(2**32 - 1))), "", 1),
    "index beyond the file": safe(
        file("x.bag", BAG_MAGIC + bag_header(2**64 - 1, 2**32 - 1, 2**32 - 1) + SOUND[len(BAG_MAGIC + bag_header()) :]),
        "truncated",
        20,
    ),
    "index in the middle of a chunk": safe(
        file("x.bag", BAG_MAGIC + bag_header(4500, 2, 2) + SOUND[len(BAG_MAGIC + bag_header()) :]), messages=20
    ),
    "a header that promises nothing": safe(
        file("x.bag", BAG_MAGIC + bag_header(5000) + SOUND[len(BAG_MAGIC + bag_header()) :]), "", 20
    ),
    "a million unknown connections": safe(
        later(lambda: bag(bag_chunk(b"".join(bag_message(number, 1, b"") for number in range(1, 200_000))))),
        "message_without_topic",
    ),
    "a hundred thousand connections": hostile(later(lambda: bag(bag_chunk(connections(100_001))))),
    "eleven thousand topics": hostile(later(lambda: bag(bag_chunk(connections(11_000))))),
    "topic name of a kilobyte and more": hostile(bag(bag_connection(5, "t" * 2_000))),
    "topic name of a megabyte": safe(bag(bag_connection(5, "t" * 1_000_000)), "record_malformed", 1),
    "type name of a megabyte": hostile(bag(bag_connection(5, "/u", "t" * 1_000_000))),
    "definition of ten megabytes": safe(bag(bag_connection(5, "/u", "a/B", "uint8 x\n" * 1_250_000)), "", 1),
    "names that turn round and ring": safe(
        bag(bag_connection(5, "\u202e../../etc\0\7\x1b[2J\n", "../\0/\u202e"), bag_message(5, 1)), "", 2
    ),
    "names that are no text": safe(
        bag(bag_record(7, bag_fields(type=b"\xff\xfe/\x80"), conn=u32(5), topic=b"\xc3\x28"), bag_message(5, 1)), "", 2
    ),
    "times at the edges": safe(
        bag(bag_record(2, b"", conn=u32(0), time=b"\xff" * 8), bag_record(2, b"", conn=u32(0), time=bytes(8))), "", 3
    ),
    "two hundred thousand chunks that are too long": safe(bag(head(1 << 27, b"lz4") * 100_000), "", 1),
    "plain chunks that are too long in one another": safe(bag(head(2**32 - 1) * 100_000), "", 1),
    "plain chunks that the file ends in": safe(bag(head(1 << 27) * 100_000), "truncated", 1),
    "a hundred thousand stretches of nothing": safe(bag(*[bytes(20) + chunk(b"none", b"", 0)] * 100_000), "", 1),
    "encrypted": worthless(file("x.bag", BAG_MAGIC + bag_header(encryptor=b"rosbag/AesCbcEncryptor"))),
    "format of long ago": worthless(file("x.bag", b"#ROSRECORD V1.2\n" + os.urandom(5000))),
    "first line without end": worthless(file("x.bag", b"#ROSBAG V" + b"2" * 100_000)),
    "a terabyte of nothing behind the records": safe(sparse("x.bag", BEGIN), "record_malformed", 1),
    "a terabyte of nothing behind the end": safe(sparse("x.bag", SOUND), "trailing_bytes", 20),
    "nothing but a terabyte of nothing": worthless(sparse("x.bag.active", b"")),
}
