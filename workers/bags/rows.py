"""Reads every row of a .db3's tables, also past damage. Called by facts."""

import sqlite3
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from workers.bags import limits
from workers.bags.definitions import READABLE_DEFINITIONS
from workers.bags.files import Workspace
from workers.bags.problems import Code, Hostile, NotARecording, Problems
from workers.bags.scan import Gap, Scan, Tally, label
from workers.bags.sqlite import (
    FAULTS,
    Source,
    columns,
    connected,
    explain,
    missing_bytes,
    prepared,
    refuse_hostile_schema,
)

# The comparison makes SQLite fetch the whole payload, overflow pages included, without handing it over, and tells
# whether it begins as a zstd frame does. A malformed row gives null; payloads of type text are none, as rosbag2 reads
# their bytes too.
ROWS = """SELECT id, topic_id, timestamp, CASE WHEN typeof(topic_id) = 'integer' AND typeof(timestamp) = 'integer'
    THEN data BETWEEN x'28b52ffd' AND x'28b52ffe' END FROM messages NOT INDEXED WHERE id >= ? ORDER BY id"""
# By the columns there are: the first releases knew no formats, Eloquent no quality of service.
TOPICS = {
    (False, False): "SELECT id, name, type, NULL, NULL FROM topics",
    (True, False): "SELECT id, name, type, serialization_format, NULL FROM topics",
    (False, True): "SELECT id, name, type, NULL, offered_qos_profiles FROM topics",
    (True, True): "SELECT id, name, type, serialization_format, offered_qos_profiles FROM topics",
}
DEFINITIONS = "SELECT topic_type, encoding FROM message_definitions WHERE length(encoded_message_definition) > 0"
BATCH = 1_000
NUMBER_AND_TIME, PACKED = itemgetter(1, 2), itemgetter(3)

Row = tuple[int, int, int, int | None]


def scan_sqlite(path: Path, workspace: Workspace, problems: Problems) -> Scan:
    """What the database holds. Raises NotARecording, Hostile, and OSError or sqlite3.Error when the machine fails."""
    with prepared(path, workspace, problems) as source:
        reader = RowReader(path.name, workspace, problems)
        reader.scan.damaged = source.damaged
        if source.mode != "rw" and (lacking := missing_bytes(source.path)):
            reader.damage(Code.TRUNCATED, f"its last {lacking} bytes are missing")
        verdict = _verdict(source, workspace)
        if verdict != "ok":
            reader.damage(Code.DATABASE_CORRUPT, verdict)
        try:
            with connected(source, workspace, salvage=verdict != "ok") as connection:
                refuse_hostile_schema(connection)
                reader.read(connection)
        except FAULTS as error:
            reader.damage(Code.DATABASE_CORRUPT, explain(error, workspace))
        return reader.scan


def _verdict(source: Source, workspace: Workspace) -> str:
    """'ok' when every page is sound and in its place, else what SQLite found first. Raises Hostile."""
    try:
        with connected(source, workspace) as connection:
            refuse_hostile_schema(connection)
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            return " ".join(found.split())[:200]
    except FAULTS as error:
        return explain(error, workspace)


class RowReader:
    """Reads one open database into a Scan."""

    question, batch = ROWS, BATCH  # id, topic, time, and whatever else is wanted of each row; how many at a time

    def __init__(self, name: str, workspace: Workspace, problems: Problems) -> None:
        self.name, self.workspace, self.problems = name, workspace, problems
        self.scan = Scan()
        self.tally = Tally()
        self.malformed = self.whole = self.packed = 0

    def damage(self, code: Code, message: str) -> None:
        self.scan.damaged = True
        self.problems.add(code, message, file=self.name)

    def read(self, connection: sqlite3.Connection) -> None:
        """Fills the scan. Raises NotARecording for foreign tables, sqlite3.DatabaseError for unreadable topics."""
        topics = columns(connection, "topics")
        messages = columns(connection, "messages")
        known = {"id", "name", "type"} <= topics.keys() and {"topic_id", "timestamp", "data"} <= messages.keys()
        if not known or messages.get("id") != ("INTEGER", 1):
            # Where the schema itself is torn, what is left of it proves nothing.
            if self.scan.damaged:
                return
            raise NotARecording("a SQLite database without rosbag2's tables")
        try:
            for rows in self.batches(connection):
                whole = rows if None not in map(PACKED, rows) else [row for row in rows if row[3] is not None]
                self.malformed += len(rows) - len(whole)
                self.whole += len(whole)
                self.packed += sum(map(PACKED, whole))
                self.tally.add_all(map(NUMBER_AND_TIME, whole))
        except FAULTS as error:
            self.damage(Code.DATABASE_CORRUPT, explain(error, self.workspace))
        self.scan.compressed = 0 < self.whole == self.packed
        self._name_topics(connection, TOPICS["serialization_format" in topics, "offered_qos_profiles" in topics])

    def _name_topics(self, connection: sqlite3.Connection, query: str) -> None:
        defined = self._definitions(connection)
        counted = self.tally.rows
        for known, (number, name, type_name, encoding, profiles) in enumerate(connection.execute(query)):
            if known == limits.TOPICS:
                raise Hostile(f"more than {limits.TOPICS} topics")
            topic = self.scan.topic(str(name), str(type_name))
            topic.encoding = "cdr" if encoding is None else label(str(encoding))
            topic.embedded = topic.type in defined
            count, first, last = counted.pop(number, (0, None, None))
            topic.add(count, first, last)
            self.scan.offer(topic, profiles if isinstance(profiles, str) else "", count)
        self.scan.clock_regressions = self.tally.clock_regressions
        if counted:
            lost = sum(entry[0] for entry in counted.values())
            self.damage(Code.MESSAGE_WITHOUT_TOPIC, f"{lost} messages of {len(counted)} topics the file does not name")
        if self.malformed:
            self.damage(Code.ROW_MALFORMED, f"{self.malformed} rows of messages do not hold what they must")

    def _definitions(self, connection: sqlite3.Connection) -> set[str]:
        """Types the file defines, in its own spelling; none before Iron, which added the table."""
        there = columns(connection, "message_definitions").keys()
        if not {"topic_type", "encoding", "encoded_message_definition"} <= there:
            return set()
        rows = connection.execute(DEFINITIONS).fetchmany(limits.TOPICS)
        return {str(name) for name, encoding in rows if encoding in READABLE_DEFINITIONS}

    def batches(self, connection: sqlite3.Connection) -> Iterator[list[Row]]:
        """Every readable row in the order of ids, which grow; unreadable stretches become gaps."""
        at: int | None = limits.INT64_MIN
        while at is not None and at <= limits.INT64_MAX:
            try:
                for rows in self._whole_batches(connection, at):
                    at = _after(rows, at)
                    yield rows
                return
            except FAULTS as error:
                explain(error, self.workspace)
            for rows in self._rows_until_damage(connection, at):
                at = _after(rows, at)
                yield rows
            at = self._skip(connection, at)

    def _whole_batches(self, connection: sqlite3.Connection, at: int) -> Iterator[list[Row]]:
        cursor = connection.execute(self.question, (at,))
        while rows := cursor.fetchmany(self.batch):
            yield rows

    def _skip(self, connection: sqlite3.Connection, bad: int) -> int | None:
        """The first id after the unreadable one from which rows can be read again; None when there is none."""
        low, step, good = bad, 1, None
        while good is None and low + step <= limits.INT64_MAX:
            reached, row = self._probe(connection, low + step)
            if not reached:
                low, step = low + step, step * 2
            elif row is None:
                break
            else:
                good = low + step
        while good is not None and good - low > 1:
            middle = (low + good) // 2
            low, good = (low, middle) if self._probe(connection, middle)[1] else (middle, good)
        self.scan.damaged = True
        self.scan.gaps.append(Gap(self.name, "row", bad, None if good is None else good - 1))
        return good

    def _rows_until_damage(self, connection: sqlite3.Connection, at: int) -> Iterator[list[Row]]:
        # One query a row: Python's cursor steps ahead, so that damage takes the good row before it along.
        while at <= limits.INT64_MAX and (row := self._probe(connection, at)[1]):
            yield [row]
            at = row[0] + 1

    def _probe(self, connection: sqlite3.Connection, at: int) -> tuple[bool, Any]:
        """Whether the rows from `at` on can be reached, and the first of them."""
        try:
            return True, connection.execute(self.question + " LIMIT 1", (at,)).fetchone()
        except FAULTS as error:
            explain(error, self.workspace)
            return False, None


def _after(rows: list[Row], at: int) -> int:
    """The id to go on from. Raises DatabaseError when ids do not grow: a tree may lead back into itself."""
    numbers = isinstance(rows[0][0], int) and isinstance(rows[-1][0], int)
    if not numbers or rows[0][0] < at or rows[-1][0] - rows[0][0] < len(rows) - 1:
        error = sqlite3.DatabaseError("rows are out of order")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error
    return rows[-1][0] + 1
