"""Reads every record of an MCAP file from front to back, as far as it is whole. Called by facts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from struct import error as StructError
from typing import Any
from zlib import crc32

from workers.bags import limits, records
from workers.bags.compression import BLOCK, ZSTD_MAGIC, Broken, Stream, opened, read_magic, unpack_chunk
from workers.bags.definitions import readable_definitions
from workers.bags.files import Workspace
from workers.bags.problems import Code, Hostile, Problems
from workers.bags.records import HEAD, MESSAGE, MESSAGE_BYTES, MESSAGE_HEAD, Channel, Fields, Malformed, Schema
from workers.bags.scan import Gap, Scan, Tally, label


def scan_mcap(path: Path, workspace: Workspace, problems: Problems) -> Scan:
    """What the file at `path` holds. Raises NotARecording, Hostile, OSError."""
    with opened(path) as stream:
        reader = RecordReader(path.name, stream, workspace, problems)
        reader.read()
    return reader.scan


class RecordReader:
    """Reads one stream into `scan`. The stream passes through `window`, whose first byte is at `offset`."""

    def __init__(self, name: str, stream: Stream, workspace: Workspace, problems: Problems) -> None:
        self.name, self.stream, self.workspace, self.problems = name, stream, workspace, problems
        self.scan, self.tally = Scan(), Tally()
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.late: Counter[int] = Counter()
        self.statistics: tuple[int, dict[int, int]] | None = None
        self.unpacked = self.packed = 0
        self.window, self.offset, self.taken = b"", 0, 0
        # The checksum of the section being read: up to where in the window it has come.
        self.crc, self.summed = 0, 0
        self.data_ended = self.data_whole = self.closed = self.astray = False

    def damage(self, code: Code, message: str, first: int = 0, length: int = 0) -> None:
        self.scan.damaged = True
        self.problems.add(code, message, file=self.name)
        if length:
            self.scan.bytes_skipped += length
            self.scan.gaps.append(Gap(self.name, "byte", first, first + length - 1))

    def read(self) -> None:
        """Reads the stream to its end."""
        read_magic(self.stream, records.MAGIC, "MCAP file")
        self.offset, self.crc = len(records.MAGIC), crc32(records.MAGIC)
        lacking = 0
        while not self.closed and not self.astray and (block := self.stream.read(max(BLOCK, lacking))):
            self.workspace.check_time()
            self.window += block
            self.tally.add_all(self._records(self.window, nested=False))
            self._leave(self.taken)
            lacking = self._lacking()
        self._end()
        self._name_topics()

    def _records(self, data: bytes, nested: bool) -> Iterator[tuple[int, int]]:
        """(channel, log time) of each whole message in `data`; other records are handled as they come."""
        at, end, packed, unpack, starts = 0, len(data), 0, MESSAGE_HEAD.unpack_from, data.startswith
        while end - at >= HEAD.size:
            try:
                opcode, length, channel, _, time = unpack(data, at)
            except StructError:
                opcode, length = HEAD.unpack_from(data, at)
            stop = at + HEAD.size + length
            if stop > end or not opcode:
                break
            if opcode != MESSAGE or length < MESSAGE_BYTES:
                yield from self._handle(opcode, data, at + HEAD.size, stop, nested)
            else:
                packed += starts(ZSTD_MAGIC, at + HEAD.size + MESSAGE_BYTES)
                if time <= limits.INT64_MAX:
                    yield channel, time
                else:
                    self.late[channel] += 1
            at = stop
            if self.closed:
                break
        self.packed += packed
        if not nested:
            self.taken = at
            # No record has opcode 0: a hole, as power loss leaves them, or the inside of something torn.
            self.astray = not self.closed and end - at >= HEAD.size and data[at] == 0
        elif at != end:
            self.damage(Code.RECORD_MALFORMED, f"a chunk ends inside a record, {end - at} bytes before its end")

    def _handle(self, opcode: int, data: bytes, at: int, stop: int, nested: bool) -> Iterator[tuple[int, int]]:
        fields = Fields(data, at, stop)
        try:
            if opcode == records.SCHEMA:
                self._keep(self.schemas, *records.read_schema(fields))
            elif opcode == records.CHANNEL:
                self._keep(self.channels, *records.read_channel(fields))
            elif opcode == records.STATISTICS:
                self.statistics = records.read_statistics(fields)
            elif opcode == records.CHUNK and not nested:
                yield from self._chunk(fields, self.offset + at - HEAD.size, stop - at + HEAD.size)
            elif opcode == records.DATA_END and not nested:
                self._end_data(fields)
            elif opcode == records.FOOTER and not nested:
                self._close(fields)
            elif opcode in (records.MESSAGE, records.CHUNK):
                raise Malformed("a message without its head" if opcode == MESSAGE else "a chunk inside a chunk")
        except Malformed as error:
            self.damage(Code.RECORD_MALFORMED, f"record {opcode:#04x}: {error}")

    def _keep(self, known: dict[int, Any], number: int, value: Any) -> None:
        known.setdefault(number, value)
        if len(known) > limits.TOPICS:
            raise Hostile(f"more than {limits.TOPICS} channels or schemas")

    def _chunk(self, fields: Fields, first: int, length: int) -> Iterator[tuple[int, int]]:
        self.workspace.check_time()
        try:
            chunk = records.read_chunk(fields)
            unpacked = unpack_chunk(chunk.compression, chunk.packed, chunk.claimed)
            if chunk.crc and crc32(unpacked) != chunk.crc:
                raise Broken("checksum does not fit")
        except (Broken, Malformed) as error:
            self.damage(Code.CHUNK_UNREADABLE, f"chunk at byte {first}: {error}", first, length)
            return
        self.unpacked += len(unpacked)
        if self.unpacked > limits.UNPACKED_BYTES:
            raise Hostile(f"its chunks unpack to more than {limits.UNPACKED_BYTES} bytes")
        yield from self._records(unpacked, nested=True)

    def _end_data(self, fields: Fields) -> None:
        self._sum(fields.at - HEAD.size)
        stated = fields.number(records.U32)
        if stated and stated != self.crc:
            self.damage(Code.CHECKSUM_MISMATCH, "the data section does not fit its checksum")
        self.crc, self.summed = 0, fields.stop
        self.data_ended, self.data_whole = True, not self.scan.damaged

    def _close(self, fields: Fields) -> None:
        fields.number(records.U64), fields.number(records.U64)
        self._sum(fields.at)
        stated = fields.number(records.U32)
        if stated and self.data_ended and stated != self.crc:
            self.damage(Code.CHECKSUM_MISMATCH, "the summary section does not fit its checksum")
        self.closed = True

    def _sum(self, until: int) -> None:
        self.crc = crc32(memoryview(self.window)[self.summed : until], self.crc)
        self.summed = until

    def _leave(self, taken: int) -> None:
        """Moves the window past what was taken."""
        if taken > self.summed:
            self._sum(taken)
        self.offset, self.summed = self.offset + taken, 0
        self.window = self.window[taken:]

    def _lacking(self) -> int:
        """How many bytes the record at hand lacks, at most. One too large to be held is read past."""
        if self.closed or self.astray or len(self.window) < HEAD.size:
            return 0
        opcode, length = HEAD.unpack_from(self.window)
        if length <= limits.RECORD_BYTES:
            return int(length)
        first, whole = self.offset, HEAD.size + length
        self._leave(len(self.window))
        if self.stream.lacks(first + whole - self.offset):
            self.offset += self.stream.rest(self.workspace)
        while (left := first + whole - self.offset) and (block := self.stream.read(min(BLOCK, left))):
            self.workspace.check_time()
            self.window = block
            self._leave(len(block))
        if left:
            self.scan.bytes_skipped += self.offset - first
            self.scan.gaps.append(Gap(self.name, "byte", first, self.offset - 1))
        elif opcode != records.ATTACHMENT:
            self.damage(Code.RECORD_TOO_LARGE, f"record {opcode:#04x} of {length} bytes", first, whole)
        return 0

    def _end(self) -> None:
        """Judges how the file ends."""
        mark = self.window[: len(records.MAGIC)]
        mark += self.stream.read(len(records.MAGIC) - len(mark)) if self.closed else b""
        more = len(self.window) + self.stream.rest(self.workspace)
        if self.astray:
            self.damage(Code.RECORD_MALFORMED, f"no records from byte {self.offset} on", self.offset, more)
        elif not self.closed or mark != records.MAGIC:
            self.damage(Code.TRUNCATED, "it ends before its end mark: its writer did not close it", self.offset, more)
        elif more > len(mark):
            self.problems.add(Code.TRAILING_BYTES, f"{more - len(mark)} bytes after its end", file=self.name)
        if self.stream.damage:
            self.damage(Code.COMPRESSION_BROKEN, self.stream.damage)

    def _name_topics(self) -> None:
        """Gathers what was counted by channel under the names of topics."""
        if late := self.late.total():
            self.problems.add(Code.TIME_OUT_OF_RANGE, f"{late} messages with times above int64", file=self.name)
        total = sum(entry[0] for entry in self.tally.rows.values()) + late
        self.scan.compressed = 0 < total == self.packed
        for number in self.channels:
            schema = self.schemas.get(self.channels[number].schema, Schema("", "", False))
            topic = self.scan.topic(self.channels[number].topic, schema.name)
            topic.encoding = label(self.channels[number].encoding)
            topic.embedded |= schema.defined and schema.encoding in readable_definitions(topic.encoding)
            before = topic.count
            topic.add(*self.tally.rows.pop(number, (0, None, None)))
            topic.add(self.late.pop(number, 0), None, None)
            self.scan.offer(topic, self.channels[number].profiles, topic.count - before)
        nameless = sum(entry[0] for entry in self.tally.rows.values()) + self.late.total()
        if nameless:
            self.damage(Code.MESSAGE_WITHOUT_TOPIC, f"{nameless} messages of channels the file does not define")
        self.scan.clock_regressions = self.tally.clock_regressions
        self._claim()

    def _claim(self) -> None:
        """What the file itself says it holds: its statistics, or what was counted when its data section ended whole."""
        found = self.scan.messages
        if self.statistics:
            messages, by_channel = self.statistics
            self.scan.claim(messages, ((self.channels[number].topic, count) for number, count in by_channel.items()
                                       if number in self.channels))
            if messages != found and not self.scan.damaged:
                message = f"its statistics count {messages} messages, there are {found}"
                self.problems.add(Code.STATISTICS_MISMATCH, message, file=self.name)
        elif self.data_whole:
            self.scan.claim_found()
