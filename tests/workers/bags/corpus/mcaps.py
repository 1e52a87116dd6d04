"""Hostile MCAP files: bombs in chunks, lengths and counts that lie."""

import struct
from zlib import crc32

import zstandard
from lz4 import frame as lz4  # type: ignore[import-untyped]

from tests.workers.bags.corpus import Case, Maker, file, hostile, later, safe, sparse, worthless
from tests.workers.bags.making import START
from tests.workers.bags.test_mcap import CHANNEL, END, HEADER, MAGIC, SCHEMA, message, record, text

ZEROS = bytes(1 << 20)
BEGIN = MAGIC + HEADER + SCHEMA + CHANNEL + message(START)
INT64 = 2**63


def packed_zeros(mebibytes: int, start: bytes = b"") -> bytes:
    """zstd, without saying how much there is."""
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([packer.compress(start), *(packer.compress(ZEROS) for _ in range(mebibytes)), packer.flush()])


def chunk(compression: str, packed: bytes, claimed: int, crc: int = 0) -> bytes:
    return record(
        6, struct.pack("<QQQI", 0, 0, claimed, crc) + text(compression) + struct.pack("<Q", len(packed)) + packed
    )


def mcap(*parts: bytes) -> Maker:
    """A sound file of one message with these records in its middle."""
    return file("x.mcap", BEGIN + b"".join(parts) + END)


def channel(number: int, topic: str = "/t", schema: int = 1, rest: bytes = bytes(4)) -> bytes:
    return record(4, struct.pack("<HH", number, schema) + text(topic) + text("cdr") + rest)


def lying_frame(content: bytes, claimed: int) -> bytes:
    """A zstd frame that declares another size than it has."""
    packed = bytearray(zstandard.ZstdCompressor().compress(content))
    flag = packed[4] >> 6
    place, width = 5 + (0 if packed[4] & 0x20 else 1), (1, 2, 4, 8)[flag]
    packed[place : place + width] = claimed.to_bytes(width, "little")
    return bytes(packed)


def wide_frame() -> bytes:
    """A zstd frame that asks for a window of a gigabyte."""
    parameters = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(b"a" * 1000) + packer.flush()


INNER = chunk("", message(1), len(message(1)))
DARK = zstandard.ZstdCompressor().compress(record(5, struct.pack("<HIQQ", 1, 0, 1, 1) + bytes(1 << 24)))
DARK_CHUNK = chunk("zstd", DARK, len(zstandard.decompress(DARK)))
STATISTICS = struct.pack("<QHIIIIQQ", 2**64 - 1, 9, 2**32 - 1, 5, 5, 5, 2**64 - 1, 0)
MANY_CHANNELS = b"".join(channel(number, f"/t{number}") for number in range(12_000))

CASES: dict[str, Case] = {
    "chunk that declares a gigabyte": hostile(
        later(lambda: mcap(chunk("zstd", zstandard.ZstdCompressor().compress(bytes(1 << 29)), 1 << 29)))
    ),
    "chunk that holds more than it claims": hostile(later(lambda: mcap(chunk("zstd", packed_zeros(100), 1000)))),
    "chunk of two frames": hostile(
        mcap(chunk("zstd", zstandard.ZstdCompressor().compress(bytes(1000)) + packed_zeros(100), 1000))
    ),
    "lz4 chunk that holds more than it claims": hostile(
        mcap(chunk("lz4", lz4.compress(bytes(1 << 20), store_size=False), 1000))
    ),
    "lz4 chunk that declares a terabyte": safe(
        mcap(chunk("lz4", lz4.compress(b"a" * 100)[:6] + struct.pack("<Q", 1 << 40) + bytes(50), 1 << 40)),
        "chunk_unreadable",
    ),
    "lz4 chunk that claims a gigabyte": hostile(
        mcap(chunk("lz4", lz4.compress(bytes(1 << 20), store_size=False), 1 << 30))
    ),
    "chunk that claims a terabyte": hostile(mcap(chunk("zstd", packed_zeros(1), 1 << 40))),
    "chunks that unpack to terabytes": hostile(
        later(lambda: mcap(*[chunk("zstd", packed_zeros(250), 250 << 20)] * 4_000)), seconds=2
    ),
    "chunk that declares less than it has": safe(
        mcap(chunk("zstd", lying_frame(bytes(1 << 20), 1000), 1000)), "chunk_unreadable", 1
    ),
    "chunk that asks for a wide window": safe(mcap(chunk("zstd", wide_frame(), 1000)), "chunk_unreadable", 1),
    "chunk of frames to be skipped": safe(
        mcap(chunk("zstd", struct.pack("<II", 0x184D2A50, 0) * 100_000, 1000)), "chunk_unreadable", 1
    ),
    "chunk that needs a dictionary": safe(
        mcap(chunk("zstd", b"\x28\xb5\x2f\xfd\x21\xff\x0a" + bytes(20), 10)), "chunk_unreadable", 1
    ),
    "chunk in a chunk": safe(mcap(chunk("", INNER, len(INNER))), "record_malformed", 1),
    "chunks of a dark world": safe(mcap(*[DARK_CHUNK] * 20), messages=21),
    "chunk of an unknown packing": safe(mcap(chunk("bz2", b"abc", 10)), "chunk_unreadable", 1),
    "chunk of garbage": safe(mcap(chunk("zstd", b"garbage", 10)), "chunk_unreadable", 1),
    "lz4 chunk of garbage": safe(mcap(chunk("lz4", b"garbage", 10)), "chunk_unreadable", 1),
    "chunk whose checksum lies": safe(
        mcap(chunk("", message(7), len(message(7)), crc32(message(7)) ^ 5)), "chunk_unreadable", 1
    ),
    "record of exabytes": safe(mcap(struct.pack("<BQ", 5, 1 << 62)), "truncated", 1),
    "record of a negative length": safe(mcap(struct.pack("<Bq", 3, -1)), "truncated", 1),
    "attachment of exabytes": safe(mcap(struct.pack("<BQ", 9, 2**64 - 10)), "truncated", 1),
    "statistics of everything": safe(
        mcap(record(11, STATISTICS + struct.pack("<I", 2**32 - 1))), "record_malformed", 1
    ),
    "statistics beyond int64": safe(
        file("x.mcap", BEGIN + chunk("zstd", b"?", 5) + record(11, STATISTICS + bytes(4)) + END), "chunk_unreadable", 1
    ),
    "footer that points outside": safe(
        file("x.mcap", BEGIN + record(2, struct.pack("<QQI", 2**63, 2**64 - 1, 0)) + MAGIC), messages=1
    ),
    "text longer than its record": safe(mcap(record(4, struct.pack("<HHI", 7, 1, 2**32 - 1))), "record_malformed", 1),
    "notes longer than their record": safe(mcap(channel(2, "/u", rest=struct.pack("<I", 2**32 - 1) * 3)), "", 1),
    "a hundred thousand notes": safe(
        mcap(channel(2, "/u", rest=struct.pack("<I", 800_000) + bytes(8) * 100_000)), "", 1
    ),
    "half a million records of the future": safe(mcap(record(0x42, b"") * 500_000), "", 1),
    "times at the edges": safe(mcap(message(0), message(INT64 - 1), message(INT64), message(2**64 - 1)), "", 5),
    "channels of no schema": safe(mcap(channel(3, "/u", 77), message(5, 3)), "", 2),
    "one number for many channels": safe(mcap(*[channel(1, f"/t{number}") for number in range(5_000)]), "", 1),
    "names that turn round and ring": safe(mcap(channel(2, "\u202e../../etc\0\7\x1b[2J\n"), message(5, 2)), "", 2),
    "twelve thousand channels": hostile(mcap(MANY_CHANNELS)),
    "twelve thousand channels in one chunk": hostile(
        mcap(chunk("zstd", zstandard.ZstdCompressor().compress(MANY_CHANNELS), len(MANY_CHANNELS)))
    ),
    "topic name of a megabyte": hostile(mcap(channel(5, "t" * 1_000_000))),
    "schema name of a megabyte": hostile(
        mcap(record(3, struct.pack("<H", 9) + text("t" * 1_000_000) + text("") + text("")), channel(5, "/u", 9))
    ),
    "encoding of a megabyte": hostile(
        mcap(record(4, struct.pack("<HH", 5, 1) + text("/u") + text("c" * 1_000_000) + bytes(4)))
    ),
    "a terabyte of nothing behind the records": safe(sparse("x.mcap", BEGIN), "record_malformed", 1),
    "a terabyte of nothing behind the end": safe(sparse("x.mcap", BEGIN + END), "trailing_bytes", 1),
    "a record of a terabyte of nothing": safe(
        sparse("x.mcap", BEGIN + struct.pack("<BQ", 5, 1 << 45), 1 << 32), "truncated", 1
    ),
    "nothing but a terabyte of nothing": worthless(sparse("x.mcap", b"")),
}
