"""The records of an MCAP file (https://mcap.dev/spec): opcodes and the fields facts need. Used by mcap.py."""

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

MAGIC = b"\x89MCAP0\r\n"

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
ATTACHMENT, STATISTICS, DATA_END = 0x09, 0x0B, 0x0F

# Every record: opcode, length of what follows.
HEAD = Struct("<BQ")
# The same, with the start of a message: channel, sequence, log time. Its publish time and data follow.
MESSAGE_HEAD = Struct("<BQHIQ")
MESSAGE_BYTES = 22
NOTES = 100

U16, U32, U64 = Struct("<H"), Struct("<I"), Struct("<Q")


class Malformed(Exception):
    """A record whose inside does not fit its length."""


class Schema(NamedTuple):
    """A message type: its name, and how and whether it is defined."""

    name: str
    encoding: str
    defined: bool


class Channel(NamedTuple):
    """A topic of one type; schema 0 is none. `profiles` is the quality of service that rosbag2 notes with it."""

    schema: int
    topic: str
    encoding: str
    profiles: str = ""


@dataclass(frozen=True)
class Chunk:
    """Packed records and what they become."""

    claimed: int
    crc: int
    compression: str
    packed: bytes


class Fields:
    """Reads the fields of one record in order. Raises Malformed past its end."""

    def __init__(self, data: bytes, at: int, stop: int) -> None:
        self.data, self.at, self.stop = data, at, stop

    def number(self, struct: Struct) -> int:
        self._need(struct.size)
        value: int = struct.unpack_from(self.data, self.at)[0]
        self.at += struct.size
        return value

    def text(self) -> str:
        return self.bytes(self.number(U32)).decode("utf-8", "replace")

    def bytes(self, length: int) -> bytes:
        self._need(length)
        self.at += length
        return self.data[self.at - length : self.at]

    def _need(self, length: int) -> None:
        if length > self.stop - self.at:
            raise Malformed(f"a field of {length} bytes where {self.stop - self.at} are left")


def read_schema(fields: Fields) -> tuple[int, Schema]:
    number, name, encoding = fields.number(U16), fields.text(), fields.text()
    return number, Schema(name, encoding, bool(fields.bytes(fields.number(U32)).strip()))


def read_channel(fields: Fields) -> tuple[int, Channel]:
    number, schema, topic = fields.number(U16), fields.number(U16), fields.text()
    return number, Channel(schema, topic, fields.text(), _profiles(fields))


def _profiles(fields: Fields) -> str:
    """Out of the notes of a channel, of which rosbag2 makes two; empty when it is not among the first NOTES."""
    try:
        stop = min(fields.stop, fields.number(U32) + fields.at)
        for _ in range(NOTES):
            if fields.at >= stop:
                break
            key, value = fields.text(), fields.text()
            if key == "offered_qos_profiles":
                return value
    except Malformed:
        pass
    return ""


def read_chunk(fields: Fields) -> Chunk:
    fields.number(U64), fields.number(U64)
    claimed, crc, compression = fields.number(U64), fields.number(U32), fields.text()
    return Chunk(claimed, crc, compression, fields.bytes(fields.number(U64)))


def read_statistics(fields: Fields) -> tuple[int, dict[int, int]]:
    """Messages in all, and by channel (which writers may leave out)."""
    messages = fields.number(U64)
    # Counts of schemas, channels, attachments, metadata and chunks, first and last time.
    fields.bytes(2 + 4 + 4 + 4 + 4 + 8 + 8)
    pairs = fields.number(U32) // 10
    return messages, {fields.number(U16): fields.number(U64) for _ in range(pairs)}
