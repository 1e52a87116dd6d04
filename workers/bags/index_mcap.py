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
from workers.bags.index_blocks import Gathered, Gatherer, LocalTopic, Run
from workers.bags.problems import NotARecording
from workers.bags.qos import latching
from workers.bags.records import HEAD, MESSAGE, MESSAGE_BYTES, MESSAGE_HEAD, Channel, Fields, Malformed
from workers.bags.scan import label

WINDOW_BYTES = limits.MIB
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
        self.file, self.workspace = file, workspace
        self.size = file.seek(0, 2)
        self.gatherer = Gatherer()
        self.run = Run(self.gatherer, grain)
        self.schemas: dict[int, tuple[str, Definition | None]] = {}
        self.channels: dict[int, Channel] = {}
        self.closed = False

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
                    self.run.close()
                    offset = self.file.seek(offset + HEAD.size + length)
                    window, lacking = b"", 0
        self.run.close()

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
                    self.run.extend(base + at, base + stop)
                self.run.count(channel, time)
            at = stop
        return at

    def _handle(self, opcode: int, fields: Fields, base: int | None, nested: bool) -> None:
        try:
            if opcode == records.SCHEMA:
                self._schema(fields)
            elif opcode == records.CHANNEL:
                self._channel(fields)
            elif opcode == records.CHUNK and not nested and base is not None:
                self._chunk(fields, base)
            elif opcode == records.CHUNK:
                self.run.close()
            elif opcode == records.FOOTER and not nested:
                self.closed = fields.stop - fields.at >= FOOTER_BYTES
        except Malformed:
            self.run.close()

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
            self.run.close()
            return
        if chunk.compression:
            self.run.extend(start, base + fields.stop, len(unpacked))
            self._records(unpacked, 0, len(unpacked), None, nested=True)
            return
        end = self._records(fields.data, fields.at - len(unpacked), fields.at, base, nested=True)
        if end != fields.stop:
            # What comes before the next record is none, and no block may hold it.
            self.run.close()

    def gathered(self, file: IndexedFile) -> Gathered:
        for number, channel in self.channels.items():
            kind, definition = self.schemas.get(channel.schema, ("", None))
            topic, encoding = label(channel.topic), label(channel.encoding)
            self.gatherer.topics[number] = LocalTopic(topic, kind, encoding, definition, channel.profiles)
        return self.gatherer.gathered(file)
