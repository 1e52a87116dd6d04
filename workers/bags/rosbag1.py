"""Reads every record of a ROS 1 bag from front to back, as far as it is whole. Called by facts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from workers.bags import limits
from workers.bags import rosbag1_records as records
from workers.bags.compression import BAG_PACKINGS, BLOCK, Broken, Stream, check_magic, opened, unpack_chunk, unpack_cut
from workers.bags.definitions import spelled
from workers.bags.files import Workspace
from workers.bags.problems import Code, Hostile, NotARecording, Problems
from workers.bags.records import Malformed
from workers.bags.rosbag1_records import CHUNK_HEAD, MESSAGE_HEAD, TIME, U32, Chunk, Connection, Fields, Index
from workers.bags.scan import Gap, Scan, Tally


def scan_rosbag1(path: Path, workspace: Workspace, problems: Problems) -> Scan:
    """What the bag at `path` holds. Raises NotARecording, Hostile, OSError.

    A bag without an index is read like any other: its recorder did not close it, which alone is no damage.
    """
    with opened(path) as stream:
        reader = BagReader(path.name, stream, workspace, problems)
        reader.read()
    return reader.scan


class Stray(NamedTuple):
    """Bytes of the file that are no record; `torn` where the file ends in them."""

    first: int
    length: int
    torn: bool


class BagReader:
    """Reads one stream into `scan`. The stream passes through `window`, whose first byte is at `offset`."""

    def __init__(self, name: str, stream: Stream, workspace: Workspace, problems: Problems) -> None:
        self.name, self.stream, self.workspace, self.problems = name, stream, workspace, problems
        self.scan, self.tally, self.index = Scan(), Tally(), Index()
        self.connections: dict[int, Connection] = {}
        self.strays: list[Stray] = []
        self.unpacked = 0
        self.window, self.offset, self.taken = b"", 0, 0
        self.open_chunk = ""
        self.ended = self.astray = self.data_whole = self.closed = False
        # The first record that the file, as far as one can see, ends in.
        self.cut: int | None = None

    def damage(self, code: Code, message: str, first: int = 0, length: int = 0) -> None:
        self.scan.damaged = True
        self.problems.add(code, message, file=self.name)
        if length:
            self.scan.bytes_skipped += length
            self.scan.gaps.append(Gap(self.name, "byte", first, first + length - 1))

    def read(self) -> None:
        """Reads the stream to its end."""
        _read_magic(self.stream)
        self.offset = len(records.MAGIC)
        lacking = 0
        while self.window or not self.ended:
            self.workspace.check_time()
            block = self.stream.read(max(BLOCK, lacking))
            self.ended = not block
            self.window += block
            self.tally.add_all(self._records(self.window, nested=False))
            self._leave(self.taken)
            if self.open_chunk:
                self._read_open_chunk()
            elif self.astray:
                self._find_next()
            elif self.ended and self.window:
                self._read_torn()
            lacking = self._lacking()
        self._end()
        self._name_topics()

    def _records(self, data: bytes, nested: bool) -> Iterator[tuple[int, int]]:
        """(connection, time) of each whole message in `data`; other records are handled as they come."""
        at, end, number_at, head_at = 0, len(data), U32.unpack_from, MESSAGE_HEAD.fullmatch
        while end - at >= 8 and not self.open_chunk:
            length = number_at(data, at)[0]
            middle = at + 4 + length
            if not 0 < length <= limits.HEADER_BYTES or middle + 4 > end:
                break
            stop = middle + 4 + number_at(data, middle)[0]
            if stop > end:
                if not nested and self._enters(data, at, stop - at):
                    at = middle + 4
                    continue
                break
            head = head_at(data, at + 4, middle)
            number, opcode, time = head.groups() if head else (None, None, None)
            if opcode == records.MESSAGE_OP and number and time:
                seconds, nanoseconds = TIME.unpack(time)
                yield number_at(number)[0], seconds * 1_000_000_000 + nanoseconds
            else:
                yield from self._handle(data, at, middle, stop, nested)
            at = stop
        self.taken = at
        if not nested and not self.open_chunk:
            # Every record has a header: a hole, as power loss leaves them, or the inside of something torn.
            self.astray = end - at >= 4 and not 0 < number_at(data, at)[0] <= limits.HEADER_BYTES

    def _handle(self, data: bytes, at: int, middle: int, stop: int, nested: bool) -> Iterator[tuple[int, int]]:
        """One record that is no plain message: its header ends at `middle`, where the length of its data stands."""
        self.workspace.check_time()
        place = self.offset + at
        try:
            fields = records.read_fields(data, at + 4, middle)
            opcode = records.number(fields, b"op", records.U8)
            if opcode == records.MESSAGE:
                yield records.number(fields, b"conn"), records.time_of(fields, b"time")
            elif opcode == records.CONNECTION:
                self._connect(fields, records.read_fields(data, middle + 4, stop), 0 if nested else place)
            elif nested:
                raise Malformed(f"a record {opcode} inside a chunk")
            elif opcode == records.CHUNK:
                yield from self._chunk(fields, data[middle + 4 : stop], place, stop - at)
            elif opcode == records.HEADER:
                self._begin(fields)
            elif opcode == records.CHUNK_INFO:
                self.index.add(records.read_counts(fields, data, middle + 4, stop))
        except Malformed as error:
            self.damage(Code.RECORD_MALFORMED, str(error) if nested else f"record at byte {place}: {error}")

    def _begin(self, fields: Fields) -> None:
        header = records.read_header(fields)
        if header.encryptor not in ("", "rosbag/NoEncryptor"):
            raise NotARecording(f"its content is encrypted by {header.encryptor[:100]!r}")
        self.index.header = self.index.header or header

    def _connect(self, fields: Fields, content: Fields, place: int) -> None:
        number, connection = records.read_connection(fields, content)
        self.connections.setdefault(number, connection)
        if len(self.connections) > limits.CONNECTIONS:
            raise Hostile(f"more than {limits.CONNECTIONS} connections")
        if 0 < self.index.at <= place:
            self.index.connections += 1

    def _chunk(self, fields: Fields, packed: bytes, first: int, length: int) -> Iterator[tuple[int, int]]:
        try:
            chunk = records.read_chunk(fields, packed)
            if chunk.is_open and not self.index.at:
                # Records that are not packed follow like any other.
                self.open_chunk = chunk.compression if chunk.compression != "none" else ""
                return
            unpacked = _unpack(chunk)
        except (Broken, Malformed) as error:
            self.damage(Code.CHUNK_UNREADABLE, f"chunk at byte {first}: {error}", first, length)
            return
        self.unpacked += len(unpacked)
        if self.unpacked > limits.UNPACKED_BYTES:
            raise Hostile(f"its chunks unpack to more than {limits.UNPACKED_BYTES} bytes")
        yield from self._records(unpacked, nested=True)
        if left := len(unpacked) - self.taken:
            message = f"chunk at byte {first} ends inside a record, {left} bytes before its end"
            self.damage(Code.RECORD_MALFORMED, message)

    def _read_open_chunk(self) -> None:
        """What was written of a packed chunk before the recorder died: it reaches to the end of the file."""
        compression, self.open_chunk, self.cut = self.open_chunk, "", self.offset
        self.window += self.stream.read(max(0, limits.RECORD_BYTES - len(self.window)))
        self._read_cut(compression, self.window)
        self._leave(len(self.window))

    def _read_torn(self) -> None:
        """Goes on where the file ends in a record: a packed chunk is read as far as it unpacks."""
        self.cut = self.offset if self.cut is None else self.cut
        compression, start = records.chunk_at(self.window, 0)
        self._read_cut(compression, self.window[start:])
        self._find_next()

    def _read_cut(self, compression: str, packed: bytes) -> None:
        self.tally.add_all(self._records(unpack_cut(compression, packed), nested=True))

    def _enters(self, data: bytes, at: int, length: int) -> bool:
        """True for a chunk of plain records that is too large to be held, or cut: they are read one by one."""
        if not self.ended and length <= limits.RECORD_BYTES:
            return False
        compression, _ = records.chunk_at(data, at)
        if self.ended and compression == "none" and self.cut is None:
            self.cut = self.offset + at
        return compression == "none"

    def _leave(self, taken: int) -> None:
        """Moves the window past what was taken."""
        self.offset += taken
        self.window = self.window[taken:]

    def _find_next(self) -> None:
        """Goes on after bytes that are no record: at the next chunk, or at the index. Gives up where that is far."""
        first, self.astray = self.offset, False
        self._leave(1)
        while self.window:
            self.workspace.check_time()
            lost = len(self.strays) >= limits.STRAYS or self.offset - first > limits.STRAY_BYTES
            place = None if lost else self._next_place()
            if place is not None:
                self._leave(place)
                break
            self._leave(max(0, len(self.window) - records.CHUNK_HEAD_BYTES))
            block = b"" if lost else self.stream.read(BLOCK)
            if not block:
                self._leave(len(self.window))
                self.offset += self.stream.rest(self.workspace)
            self.window += block
        self.strays.append(Stray(first, self.offset - first, self.cut is not None and not self.window))

    def _next_place(self) -> int | None:
        """Where in the window a chunk or the index begins."""
        chunk = CHUNK_HEAD.search(self.window)
        places = [chunk.start()] if chunk else []
        index = self.index.at - self.offset
        return min([*places, index] if 0 <= index < len(self.window) else places, default=None)

    def _lacking(self) -> int:
        """How many bytes the record at hand lacks, as far as can be said. No real one is too large to be held."""
        if len(self.window) < 4:
            return 0
        middle = 4 + int(U32.unpack_from(self.window)[0])
        if len(self.window) < middle + 4:
            return middle + 4 - len(self.window)
        whole = middle + 4 + int(U32.unpack_from(self.window, middle)[0])
        if whole <= limits.RECORD_BYTES:
            return whole - len(self.window)
        self.cut = self.offset if self.cut is None else self.cut
        self._find_next()
        return 0

    def _end(self) -> None:
        """Judges how the file ends, and what in it was no record."""
        self.closed = self.index.is_complete(self.offset)
        first_fault = min((stray.first for stray in self.strays), default=self.offset)
        self.data_whole = 0 < self.index.at <= first_fault and not self.scan.damaged
        accounted = self.closed and self.index.listed == Counter({n: row[0] for n, row in self.tally.rows.items()})
        for first, length, torn in self.strays:
            trails = self.closed and first >= self.index.at and first + length == self.offset
            if trails or (accounted and self.tally.rows):
                code = Code.TRAILING_BYTES if trails else Code.UNKNOWN_BYTES
                self.problems.add(code, f"{length} bytes from byte {first} on are no record", file=self.name)
            elif torn:
                self.damage(Code.TRUNCATED, "it ends inside a record", first, length)
            else:
                self.damage(Code.RECORD_MALFORMED, f"no records from byte {first} on", first, length)
        if self.index.header and not self.index.at:
            self.problems.add(Code.NOT_CLOSED, "it has no index: its recorder did not close it", file=self.name)
        if self.closed and self.cut is not None and self.cut < self.index.at:
            self.damage(Code.RECORD_MALFORMED, f"record at byte {self.cut}: longer than the file")
        lacks = self.cut is not None or self.index.at or not self.index.header
        if lacks and not self.closed and not any(stray.torn for stray in self.strays):
            self.damage(Code.TRUNCATED, "it ends before all that it announces")
        if self.stream.damage:
            self.damage(Code.COMPRESSION_BROKEN, self.stream.damage)

    def _name_topics(self) -> None:
        """Gathers what was counted by connection under the names of topics."""
        for number, connection in self.connections.items():
            topic = self.scan.topic(connection.topic, spelled(connection.type))
            topic.encoding = "ros1"
            topic.embedded |= connection.defined
            topic.add(*self.tally.rows.pop(number, (0, None, None)))
        if nameless := sum(entry[0] for entry in self.tally.rows.values()):
            self.damage(Code.MESSAGE_WITHOUT_TOPIC, f"{nameless} messages of connections the file does not define")
        self.scan.clock_regressions = self.tally.clock_regressions
        self._claim()

    def _claim(self) -> None:
        """What the bag itself says it holds: its index where that is whole, or what was counted before it."""
        found = self.scan.messages
        if self.closed:
            messages = self.index.listed.total()
            self.scan.claim(messages, ((self.connections[number].topic, count)
                                       for number, count in self.index.listed.items() if number in self.connections))
            if messages != found and not self.scan.damaged:
                message = f"its index counts {messages} messages, there are {found}"
                self.problems.add(Code.STATISTICS_MISMATCH, message, file=self.name)
        elif self.data_whole:
            self.scan.claim_found()


def _read_magic(stream: Stream) -> None:
    head = stream.read(len(records.MAGIC))
    if head != records.MAGIC and (old := records.OLD_MAGIC.match(head + stream.read(8))):
        raise NotARecording(f"a ROS 1 bag of format {old[1].decode()}; only 2.0 can be read")
    check_magic(head, stream.damage, records.MAGIC, "ROS 1 bag")


def _unpack(chunk: Chunk) -> bytes:
    if chunk.compression == "none":
        return chunk.packed
    return unpack_chunk(chunk.compression, chunk.packed, chunk.claimed, BAG_PACKINGS)
