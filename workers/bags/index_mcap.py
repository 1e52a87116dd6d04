"""Indexes an .mcap, also one that was cut: where its packed chunks and its other messages lie, its schemas and
channels, so that no other part of the file need be read. Called by indexing.py.
"""

from pathlib import Path
from struct import error as StructError
from typing import BinaryIO
from zlib import crc32

from workers.bags import limits, records
from workers.bags.compression import Broken, unpack_chunk
from workers.bags.files import Workspace, open_regular
from workers.bags.index import Definition, Grain, IndexedFile
from workers.bags.index_blocks import Gathered, Gatherer, LocalTopic
from workers.bags.problems import NotARecording
from workers.bags.qos import latching
from workers.bags.records import HEAD, MESSAGE, MESSAGE_BYTES, MESSAGE_HEAD, Channel, Fields, Malformed
from workers.bags.scan import label

WINDOW_BYTES = limits.MIB
# Records that are none of messages are read over in a block, up to this much between two.
GAP_BYTES = 64 * limits.KIB
# Packed chunks are read together until they unpack to this.
UNPACKED_BYTES = limits.MIB
FOOTER_BYTES = 20


def index_mcap(path: Path, grain: Grain, workspace: Workspace) -> Gathered:
    """The blocks of a file as far as it is whole. Raises NotARecording, Hostile, TooScattered, OSError."""
    with open_regular(path) as file:
        if file.read(len(records.MAGIC)) != records.MAGIC:
            raise NotARecording("no MCAP file")
        walk = _Walk(file, grain, workspace)
        walk.read()
        return walk.gathered(IndexedFile(path.name, walk.size, "mcap"))


class _Walk:
    """Reads the records of a file in order and gathers its messages into blocks."""

    def __init__(self, file: BinaryIO, grain: Grain, workspace: Workspace) -> None:
        self.file, self.grain, self.workspace = file, grain, workspace
        self.size = file.seek(0, 2)
        self.gatherer = Gatherer()
        self.schemas: dict[int, tuple[str, Definition | None]] = {}
        self.channels: dict[int, Channel] = {}
        self.closed = False
        # The block at hand: its extent in the file, how much of it unpacks, its messages.
        self.start = self.stop = self.unpacked = self.late = 0
        self.messages: list[tuple[int, int]] = []
        self.alone = False

    def read(self) -> None:
        offset = self.file.seek(len(records.MAGIC))
        window, lacking = b"", 0
        while not self.closed and (more := self.file.read(max(WINDOW_BYTES, lacking))):
            self.workspace.check_time()
            window += more
            taken = self._records(window, 0, len(window), offset)
            window, offset, lacking = window[taken:], offset + taken, 0
            if len(window) >= HEAD.size:
                opcode, length = HEAD.unpack_from(window)
                if not opcode or offset + HEAD.size + length > self.size:
                    break
                lacking = HEAD.size + length - len(window)
                if length > limits.RECORD_BYTES:
                    self._close()
                    offset = self.file.seek(offset + HEAD.size + length)
                    window, lacking = b"", 0
        self._close()

    def _records(self, data: bytes, at: int, end: int, base: int | None, nested: bool = False) -> int:
        """Takes the whole records of `data`; where it stopped. The first byte of `data` is at `base` in the file."""
        unpack = MESSAGE_HEAD.unpack_from
        while end - at >= HEAD.size and not self.closed:
            try:
                opcode, length, channel, _, time = unpack(data, at)
            except StructError:
                opcode, length = HEAD.unpack_from(data, at)
            stop = at + HEAD.size + length
            if stop > end or not opcode:
                break
            if opcode != MESSAGE:
                self._handle(opcode, Fields(data, at + HEAD.size, stop), base, nested)
            elif length >= MESSAGE_BYTES:
                if base is not None:
                    self._extend(base + at, base + stop)
                self._count(channel, time)
            at = stop
        return at

    def _count(self, channel: int, time: int) -> None:
        if time <= limits.INT64_MAX:
            self.messages.append((channel, time))
        else:
            self.late += 1

    def _extend(self, start: int, stop: int, unpacked: int = 0) -> None:
        """Makes these bytes of the file a part of the block at hand, or of a new one."""
        held = self.stop - self.start
        large = stop - start >= self.grain.large or unpacked >= UNPACKED_BYTES
        full = held >= self.grain.block or self.unpacked >= UNPACKED_BYTES or self.alone
        if held and (large or full or start - self.stop > GAP_BYTES):
            self._close()
        self.start = self.start if self.stop else start
        self.stop, self.unpacked, self.alone = stop, self.unpacked + unpacked, large

    def _close(self) -> None:
        if self.stop:
            self.gatherer.add(self.messages, [(self.start, self.stop - self.start)], late=self.late)
        self.start = self.stop = self.unpacked = self.late = 0
        self.messages, self.alone = [], False

    def _handle(self, opcode: int, fields: Fields, base: int | None, nested: bool) -> None:
        try:
            if opcode == records.SCHEMA:
                self._schema(fields)
            elif opcode == records.CHANNEL:
                self._channel(fields)
            elif opcode == records.CHUNK and not nested and base is not None:
                self._chunk(fields, base)
            elif opcode == records.CHUNK:
                self._close()
            elif opcode == records.FOOTER and not nested:
                self.closed = fields.stop - fields.at >= FOOTER_BYTES
        except Malformed:
            self._close()

    def _schema(self, fields: Fields) -> None:
        number, name, encoding = fields.number(records.U16), label(fields.text()), fields.text()
        data = fields.bytes(fields.number(records.U32))
        if number not in self.schemas:
            self.schemas[number] = (name, self.gatherer.definition(encoding, data))

    def _channel(self, fields: Fields) -> None:
        number, channel = records.read_channel(fields)
        if number not in self.channels:
            self.channels[number] = channel
            if latching(label(channel.topic), channel.profiles):
                self.gatherer.latched.add(number)

    def _chunk(self, fields: Fields, base: int) -> None:
        """A chunk that is whole; what does not unpack or fails its checksum is read by nobody."""
        self.workspace.check_time()
        start = base + fields.at - HEAD.size
        chunk = records.read_chunk(fields)
        try:
            unpacked = unpack_chunk(chunk.compression, chunk.packed, chunk.claimed)
            if chunk.crc and crc32(unpacked) != chunk.crc:
                raise Broken("checksum does not fit")
        except Broken:
            self._close()
            return
        if chunk.compression:
            self._extend(start, base + fields.stop, len(unpacked))
            self._records(unpacked, 0, len(unpacked), None, nested=True)
        elif self._records(fields.data, fields.at - len(unpacked), fields.at, base, nested=True) != fields.at:
            self._close()

    def gathered(self, file: IndexedFile) -> Gathered:
        for number, channel in self.channels.items():
            kind, definition = self.schemas.get(channel.schema, ("", None))
            topic, encoding = label(channel.topic), label(channel.encoding)
            self.gatherer.topics[number] = LocalTopic(topic, kind, encoding, definition, channel.profiles)
        return self.gatherer.gathered(file)
