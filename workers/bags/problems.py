"""What can be wrong with a recording: the closed list of codes and their collector. Used all over workers.bags."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from workers.bags.limits import PROBLEMS_PER_CODE


class Code(StrEnum):
    """Stable codes; the comment says what each means. Only those marked * make a recording DAMAGED."""

    METADATA_MISSING = "metadata_missing"  # the folder has no metadata.yaml
    METADATA_UNREADABLE = "metadata_unreadable"  # metadata.yaml is no YAML of the known shape, or too large
    METADATA_NOT_REBUILT = "metadata_not_rebuilt"  # there is none to be used, and no other could be made
    METADATA_COUNT_MISMATCH = "metadata_count_mismatch"  # it counts otherwise: a topic, a file or all
    METADATA_TIME_MISMATCH = "metadata_time_mismatch"  # it claims another start or duration
    METADATA_TYPE_MISMATCH = "metadata_type_mismatch"  # it claims another type for a topic
    METADATA_STORAGE_MISMATCH = "metadata_storage_mismatch"  # it claims another storage, or none
    METADATA_PATH_OUTSIDE = "metadata_path_outside"  # it lists an absolute path or one with ".."
    FILE_MISSING = "file_missing"  # * a listed file is not there
    FILE_RENAMED = "file_renamed"  # a listed file is not there, and one with the claimed messages and another name is
    FILE_UNLISTED = "file_unlisted"  # a data file metadata.yaml does not list; the message says whether it was counted
    FILE_DUPLICATE = "file_duplicate"  # the packed twin of a file that is there too; not counted
    FILE_EMPTY = "file_empty"  # * a data file of zero bytes
    FILE_NOT_A_RECORDING = "file_not_a_recording"  # * a data file whose content is something else
    WAL_REPLAYED = "wal_replayed"  # rows came from a write-ahead log: the recorder did not close the file
    JOURNAL_REPLAYED = "journal_replayed"  # * a cut transaction was undone; the file alone is not sound
    DATABASE_CORRUPT = "database_corrupt"  # * SQLite finds the file malformed
    ROW_MALFORMED = "row_malformed"  # * rows of messages whose columns do not hold what they must
    MESSAGE_WITHOUT_TOPIC = "message_without_topic"  # * messages of a topic or channel the file does not define
    TRUNCATED = "truncated"  # * the file ends before its end mark
    NOT_CLOSED = "not_closed"  # a ROS 1 bag without an index: its recorder did not close it; all there is was read
    UNKNOWN_BYTES = "unknown_bytes"  # bytes in a ROS 1 bag that are no record; its index accounts for every message
    TRAILING_BYTES = "trailing_bytes"  # bytes after the end mark
    RECORD_MALFORMED = "record_malformed"  # * a record whose inside does not fit its length
    RECORD_TOO_LARGE = "record_too_large"  # * a record longer than what may be held in memory
    CHUNK_UNREADABLE = "chunk_unreadable"  # * a chunk that does not unpack or fails its checksum
    CHECKSUM_MISMATCH = "checksum_mismatch"  # * the data or summary section fails its checksum
    STATISTICS_MISMATCH = "statistics_mismatch"  # the file's own statistics count other messages
    COMPRESSION_BROKEN = "compression_broken"  # * a packed file that does not unpack to its end
    TIME_OUT_OF_RANGE = "time_out_of_range"  # times above int64; left out of first and last
    TYPE_CONFLICT = "type_conflict"  # one topic with several types; the one with most messages is told
    HOSTILE = "hostile"  # the recording is rejected: made to harm or to exhaust its reader
    MORE = "more"  # further problems of a code, left out


@dataclass(frozen=True)
class Problem:
    """One thing wrong; `file` and `topic` name where, null when it is the whole recording."""

    code: str
    file: str | None
    topic: str | None
    message: str


class Problems:
    """Collects problems in order, at most PROBLEMS_PER_CODE of each code; what was left out is told by code `more`."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._seen: Counter[Code] = Counter()

    def add(self, code: Code, message: str, *, file: str | None = None, topic: str | None = None) -> None:
        self._seen[code] += 1
        if self._seen[code] <= PROBLEMS_PER_CODE:
            self._kept.append(Problem(code.value, file, topic, message))

    def told(self) -> list[Problem]:
        more = [
            Problem(Code.MORE.value, None, None, f"{count - PROBLEMS_PER_CODE} more problems {code.value}")
            for code, count in self._seen.items()
            if count > PROBLEMS_PER_CODE
        ]
        return self._kept + more


class Hostile(Exception):
    """The input is made to harm or exhaust its reader: the whole recording is refused. The text says how."""


class NotARecording(Exception):
    """This file is no recording, whatever its name says. The text says what was found; `code` is the problem's."""

    def __init__(self, message: str, code: Code = Code.FILE_NOT_A_RECORDING) -> None:
        super().__init__(message)
        self.code = code
