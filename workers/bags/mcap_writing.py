"""Writes an MCAP file (https://mcap.dev/spec) to a stream that only goes forward: chunks packed with zstd, each with
its index, and a summary. Called by slice_mcap.py.
"""

from struct import Struct, pack
from typing import BinaryIO
from zlib import crc32

import zstandard

from workers.bags import limits, records
from workers.bags.records import HEAD, MAGIC

CHUNK_BYTES = limits.MIB
MESSAGE_INDEX, CHUNK_INDEX, METADATA, METADATA_INDEX, SUMMARY_OFFSET = 0x07, 0x08, 0x0C, 0x0D, 0x0E
# A message's record up to its data: opcode, length, channel, sequence, log time, publish time.
MESSAGE_HEAD = Struct("<BQHIQQ")
MESSAGE_BYTES = MESSAGE_HEAD.size - HEAD.size
FOOTER_BYTES = 20


class McapWriter:
    """Writes one file of messages in the order of their log times, which are not negative."""

    def __init__(self, out: BinaryIO, profile: str, library: str) -> None:
        self._out, self._at = out, 0
        self._packer = zstandard.ZstdCompressor()
        # Records that the summary repeats, and what it says of the rest.
        self._schemas: list[bytes] = []
        self._channels: list[bytes] = []
        self._chunk_indexes: list[bytes] = []
        self._metadata_indexes: list[bytes] = []
        self._counts: dict[int, int] = {}
        self._first_ns = self._last_ns = 0
        # The chunk at hand: its records, when its first message was logged, (time, place) of messages by channel.
        self._chunk = bytearray()
        self._chunk_first_ns = 0
        self._index: dict[int, list[int]] = {}
        self._write(MAGIC + _record(records.HEADER, _text(profile) + _text(library)))

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """The number of a new schema, from 1."""
        number = len(self._schemas) + 1
        content = pack("<H", number) + _text(name) + _text(encoding) + pack("<I", len(data)) + data
        self._schemas.append(_record(records.SCHEMA, content))
        self._chunk += self._schemas[-1]
        return number

    def add_channel(self, topic: str, encoding: str, schema: int, notes: dict[str, str]) -> int:
        """The number of a new channel, from 1; schema 0 is none."""
        number = len(self._channels) + 1
        content = pack("<HH", number, schema) + _text(topic) + _text(encoding) + _map(notes)
        self._channels.append(_record(records.CHANNEL, content))
        self._chunk += self._channels[-1]
        self._counts[number] = 0
        return number

    def add_message(self, channel: int, log_ns: int, published_ns: int, data: bytes) -> None:
        if not self._index:
            self._chunk_first_ns = log_ns
            self._first_ns = self._first_ns if any(self._counts.values()) else log_ns
        self._last_ns = log_ns
        self._counts[channel] += 1
        chunk, index = self._chunk, self._index.get(channel)
        if index is None:
            index = self._index[channel] = []
        index += log_ns, len(chunk)
        chunk += MESSAGE_HEAD.pack(records.MESSAGE, MESSAGE_BYTES + len(data), channel, 0, log_ns, published_ns)
        chunk += data
        if len(chunk) >= CHUNK_BYTES:
            self._end_chunk()

    def add_metadata(self, name: str, notes: dict[str, str]) -> None:
        """Notes on the file, after all messages so far."""
        self._end_chunk()
        record = _record(METADATA, _text(name) + _map(notes))
        index = pack("<QQ", self._at, len(record)) + _text(name)
        self._metadata_indexes.append(_record(METADATA_INDEX, index))
        self._write(record)

    def finish(self) -> None:
        """Writes what ends the file; the stream stays open."""
        self._end_chunk()
        self._write(_record(records.DATA_END, pack("<I", 0)))
        start, summary, offsets = self._at, bytearray(), bytearray()
        for opcode, group in self._groups():
            if group:
                stretch = pack("<BQQ", opcode, start + len(summary), sum(map(len, group)))
                offsets += _record(SUMMARY_OFFSET, stretch)
                summary += b"".join(group)
        head = HEAD.pack(records.FOOTER, FOOTER_BYTES) + pack("<QQ", start, start + len(summary))
        summary += offsets + head
        self._write(bytes(summary) + pack("<I", crc32(summary)) + MAGIC)

    def _groups(self) -> list[tuple[int, list[bytes]]]:
        return [
            (records.SCHEMA, self._schemas),
            (records.CHANNEL, self._channels),
            (records.STATISTICS, [self._statistics()]),
            (CHUNK_INDEX, self._chunk_indexes),
            (METADATA_INDEX, self._metadata_indexes),
        ]

    def _statistics(self) -> bytes:
        content = pack(
            "<QHIIIIQQ",
            sum(self._counts.values()),
            len(self._schemas),
            len(self._channels),
            0,
            len(self._metadata_indexes),
            len(self._chunk_indexes),
            self._first_ns,
            self._last_ns,
        )
        counts = b"".join(pack("<HQ", *item) for item in self._counts.items())
        return _record(records.STATISTICS, content + pack("<I", len(counts)) + counts)

    def _end_chunk(self) -> None:
        """Writes the chunk at hand and the places of its messages."""
        if not self._chunk:
            return
        content, packed = bytes(self._chunk), self._packer.compress(self._chunk)
        times = pack("<QQ", self._chunk_first_ns, self._last_ns) if self._index else pack("<QQ", 0, 0)
        head = times + pack("<QI", len(content), crc32(content)) + _text("zstd") + pack("<Q", len(packed))
        at, chunk = self._at, _record(records.CHUNK, head + packed)
        self._write(chunk)
        places = bytearray()
        for channel, index in self._index.items():
            places += pack("<HQ", channel, self._at)
            stretch = pack("<HI", channel, 8 * len(index)) + Struct(f"<{len(index)}Q").pack(*index)
            self._write(_record(MESSAGE_INDEX, stretch))
        told = times + pack("<QQI", at, len(chunk), len(places)) + places
        told += pack("<Q", self._at - at - len(chunk)) + _text("zstd") + pack("<QQ", len(packed), len(content))
        self._chunk_indexes.append(_record(CHUNK_INDEX, told))
        self._chunk, self._index = bytearray(), {}

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._at += len(data)


def _record(opcode: int, content: bytes) -> bytes:
    return HEAD.pack(opcode, len(content)) + content


def _text(text: str) -> bytes:
    data = text.encode()
    return pack("<I", len(data)) + data


def _map(notes: dict[str, str]) -> bytes:
    content = b"".join(_text(key) + _text(value) for key, value in notes.items())
    return pack("<I", len(content)) + content
