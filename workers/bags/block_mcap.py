"""Reads the messages of a block out of the bytes that were fetched of an .mcap. Called by extract.py."""

from collections.abc import Iterator
from struct import Struct
from zlib import crc32

from workers.bags import records
from workers.bags.blocks import BlockDamaged, Found, Wanted
from workers.bags.compression import Broken, unpack_chunk
from workers.bags.index import Block
from workers.bags.problems import Hostile
from workers.bags.records import HEAD, MESSAGE, MESSAGE_BYTES, Fields, Malformed

# Opcode, length, channel, sequence, log time, publish time.
MESSAGE_HEAD = Struct("<BQHIQQ")
# The place of a message is where its record begins; in a packed chunk the chunk's place, and where in it.
PER_BYTE = 1 << 32
# First and last time, at the beginning of a chunk.
TIMES_BYTES = 16


def read_records(block: Block, data: bytes, wanted: Wanted) -> Iterator[Found]:
    """The wanted messages of the records in `data`. Raises BlockDamaged after what is whole."""
    reader = _Reader(wanted)
    yield from reader.records(data, block.extents[0][0])
    if reader.count != block.messages:
        raise BlockDamaged(f"{reader.count} messages in block {block.number} instead of {block.messages}")


class _Reader:
    """Gives the wanted messages and counts all."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.count = 0

    def records(self, data: bytes, base: int, step: int = PER_BYTE) -> Iterator[Found]:
        """Messages of whole records; chunks that are not packed are entered, for a block may begin inside of one."""
        topics, start_ns, end_ns = self.wanted
        at, end, unpack = 0, len(data), MESSAGE_HEAD.unpack_from
        while end - at >= HEAD.size:
            opcode, length = HEAD.unpack_from(data, at)
            stop = at + HEAD.size + length
            if stop > end and opcode != records.CHUNK:
                return
            if opcode == MESSAGE and length >= MESSAGE_BYTES:
                self.count += 1
                _, _, topic, _, time, published = unpack(data, at)
                if start_ns <= time < end_ns and topic in topics:
                    place = base * PER_BYTE + at * step
                    yield topic, time, published, place, data[at + MESSAGE_HEAD.size : stop]
            elif opcode == records.CHUNK and step == PER_BYTE:
                unpacked, stop = _chunk(data, at, stop)
                if unpacked is not None:
                    yield from self.records(unpacked, base + at, step=1)
            at = stop


def _chunk(data: bytes, at: int, stop: int) -> tuple[bytes | None, int]:
    """What a packed chunk holds, and where it ends; or None, and where the records of one that is not packed begin."""
    fields = Fields(data, at + HEAD.size, min(stop, len(data)))
    try:
        fields.bytes(TIMES_BYTES)
        claimed, crc, compression = fields.number(records.U64), fields.number(records.U32), fields.text()
        length = fields.number(records.U64)
        if not compression:
            return None, fields.at
        unpacked = unpack_chunk(compression, fields.bytes(length), claimed)
    except (Broken, Malformed, Hostile) as error:
        raise BlockDamaged(f"a chunk: {error}") from error
    if crc and crc32(unpacked) != crc:
        raise BlockDamaged("a chunk fails its checksum")
    return unpacked, stop
