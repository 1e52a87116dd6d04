"""Hostile .zstd files: bombs, and what does not unpack."""

import struct

import zstandard

from tests.workers.bags.corpus import Case, file, hostile, later, safe, sparse, worthless
from tests.workers.bags.corpus.bags1 import SOUND
from tests.workers.bags.corpus.mcaps import BEGIN, END, HEADER, MAGIC, packed_zeros, wide_frame

FRAME = b"\x28\xb5\x2f\xfd"
PACKER = zstandard.ZstdCompressor()
TERABYTE = FRAME + b"\xe0" + struct.pack("<Q", 1 << 40) + bytes(50)

CASES: dict[str, Case] = {
    "mcap that declares a terabyte": hostile(file("x.mcap.zstd", TERABYTE)),
    "database that declares a terabyte": hostile(file("x.db3.zstd", TERABYTE)),
    "bag that declares a terabyte": hostile(file("x.bag.zstd", TERABYTE)),
    "database that unpacks more than a thousandfold": hostile(
        later(lambda: file("x.db3.zstd", packed_zeros(1100, b"SQLite format 3\0")))
    ),
    "mcap of half a gigabyte of zeros": safe(
        later(lambda: file("x.mcap.zstd", packed_zeros(500, MAGIC + HEADER))), "record_malformed", 0
    ),
    "bag of half a gigabyte of zeros": safe(
        later(lambda: file("x.bag.zstd", packed_zeros(500, SOUND[:5000]))), "record_malformed"
    ),
    "frame that asks for a wide window": worthless(file("x.mcap.zstd", wide_frame()), "compression_broken"),
    "frame that is cut": worthless(file("x.db3.zstd", PACKER.compress(bytes(1000))[:10]), "compression_broken"),
    "frame of nothing": worthless(file("x.mcap.zstd", PACKER.compress(b"")), "file_empty"),
    "frames of nothing without end": worthless(file("x.mcap.zstd", PACKER.compress(b"") * 300_000), "file_empty"),
    "frames to be skipped": worthless(file("x.mcap.zstd", struct.pack("<II", 0x184D2A50, 0) * 100_000)),
    "packed twice": worthless(file("x.mcap.zstd", PACKER.compress(PACKER.compress(BEGIN + END)))),
    "garbage": worthless(file("x.bag.zstd", b"garbage")),
    "no bytes": worthless(file("x.db3.zstd", b"")),
    "gzip": worthless(file("x.mcap.zstd", b"\x1f\x8b\x08" + bytes(100))),
    "garbage after the frame": safe(
        file("x.mcap.zstd", PACKER.compress(BEGIN + END) + b"garbage" * 100), "compression_broken", 1
    ),
    "a terabyte of nothing after the frame": safe(
        sparse("x.mcap.zstd", PACKER.compress(BEGIN + END)), "compression_broken", 1
    ),
}
