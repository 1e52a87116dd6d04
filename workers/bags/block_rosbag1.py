"""Reads the messages of a block out of the bytes that were fetched of a ROS 1 bag. Called by extract.py."""

from collections.abc import Iterator

from workers.bags import limits
from workers.bags import rosbag1_records as records
from workers.bags.blocks import BlockDamaged, Found, Wanted
from workers.bags.compression import BAG_PACKINGS, Broken, unpack_chunk, unpack_cut
from workers.bags.index import Block
from workers.bags.problems import Hostile
from workers.bags.records import Malformed
from workers.bags.rosbag1_records import MESSAGE_HEAD, MESSAGE_OP, TIME, U8, U32

# Blocks whose bytes are what was written of a chunk before its recorder died, by the place of their compression here.
CUT = ("bz2", "lz4")
# The place of a message is where its record begins; in a packed chunk the chunk's place, and where in it.
PER_BYTE = 1 << 32


def read_bag_records(block: Block, data: bytes, wanted: Wanted) -> Iterator[Found]:
    """The wanted messages of the records in `data`. Raises BlockDamaged after what is whole."""
    reader = _Reader(wanted)
    base = block.extents[0][0]
    if block.cell is None:
        yield from reader.records(data, base)
    else:
        yield from reader.records(unpack_cut(CUT[block.cell % len(CUT)], data), base, step=1)
    if reader.count != block.messages:
        raise BlockDamaged(f"{reader.count} messages in block {block.number} instead of {block.messages}")


def message_head(data: bytes, at: int, stop: int) -> tuple[int, int] | None:
    """(connection, time) of the message whose header is there; None when it is the header of anything else."""
    match = MESSAGE_HEAD.fullmatch(data, at, stop)
    number, opcode, time = match.groups() if match else (None, None, None)
    if opcode == MESSAGE_OP and number and time:
        seconds, nanoseconds = TIME.unpack(time)
        return U32.unpack(number)[0], seconds * 1_000_000_000 + nanoseconds
    try:
        fields = records.read_fields(data, at, stop)
        if records.number(fields, b"op", U8) == records.MESSAGE:
            return records.number(fields, b"conn"), records.time_of(fields, b"time")
    except Malformed:
        pass
    return None


class _Reader:
    """Gives the wanted messages and counts all."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.count = 0

    def records(self, data: bytes, base: int, step: int = PER_BYTE) -> Iterator[Found]:
        """Messages of whole records; chunks that are not packed are entered, for a block may begin inside of one."""
        topics, start_ns, end_ns = self.wanted
        at, end, number_at = 0, len(data), U32.unpack_from
        while end - at >= 8:
            middle = at + 4 + number_at(data, at)[0]
            if not at + 4 < middle <= at + 4 + limits.HEADER_BYTES or middle + 4 > end:
                return
            stop = middle + 4 + number_at(data, middle)[0]
            head = message_head(data, at + 4, middle)
            if head is None and step == PER_BYTE:
                unpacked, stop = _chunk(data, at, stop)
                if unpacked:
                    yield from self.records(unpacked, base + at, step=1)
            elif head is not None and stop <= end:
                self.count += 1
                topic, time = head
                if start_ns <= time < end_ns and topic in topics:
                    yield topic, time, time, base * PER_BYTE + at * step, data[middle + 4 : stop]
            at = stop


def _chunk(data: bytes, at: int, stop: int) -> tuple[bytes, int]:
    """What a packed chunk holds, and where to go on: after it, or in it when it is not packed; of no chunk nothing."""
    compression, inside = records.chunk_at(data, at)
    if compression in ("", "none"):
        return b"", inside if compression else stop
    try:
        fields = records.read_fields(data, at + 4, inside - 4)
        return unpack_chunk(compression, data[inside:stop], records.number(fields, b"size"), BAG_PACKINGS), stop
    except (Broken, Malformed, Hostile) as error:
        raise BlockDamaged(f"a chunk: {error}") from error
