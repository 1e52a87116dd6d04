"""One excerpt of a recording, in a cage: `python -m workers.excerpt` reads a request as one line of JSON on stdin,
fetches what it needs from the URLs in it, and writes messages or a slice to stdout. Exit code 0 means that all of it
was written; else stderr ends with one line {"code", "message"}. It ends when stdin does. Started by the reader.
"""

import json
import math
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.bags import limits
from workers.bags.__main__ import confine
from workers.bags.blocks import CannotExtract
from workers.bags.decode import Decoder
from workers.bags.extract import Message, messages
from workers.bags.files import Workspace
from workers.bags.index import PACKED_BYTES, Index
from workers.bags.index_checks import BadIndex
from workers.bags.index_codec import unpack
from workers.bags.message_types import known_types
from workers.bags.problems import Hostile
from workers.bags.readable import readable
from workers.bags.slice_db3 import write_db3
from workers.bags.slice_mcap import write_mcap
from workers.bags.slicing import CannotSlice
from workers.ranges import Connections, HttpRanges, Source, SourceFailed, TimedOut

CPU_SECONDS = 3600.0
LARGEST_REQUEST = 16 << 20
# Lines are written when there are this many bytes, or this long after the last.
WRITE_BYTES = 1 << 16
WRITE_SECONDS = 0.02
# What ends an excerpt, the more special first.
CODES: dict[type[Exception], str] = {
    ValidationError: "bad_request",
    CannotSlice: "cannot_slice",
    TimedOut: "source_timeout",
    SourceFailed: "source_failed",
    BadIndex: "bad_index",
    CannotExtract: "unreadable",
    Hostile: "unreadable",
    MemoryError: "too_large",
    OSError: "failed",
}


class File(BaseModel):
    """Where a member of the recording is."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str
    size: Annotated[int, Field(ge=0)]


class Request(BaseModel):
    """What is asked for: start <= t < end of the named topics, or of all."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    index_url: str
    files: Annotated[dict[str, File], Field(max_length=limits.MEMBERS)]
    name: Annotated[str, Field(max_length=255)]
    start_ns: Annotated[int, Field(ge=limits.INT64_MIN, le=limits.INT64_MAX)]
    end_ns: Annotated[int, Field(ge=limits.INT64_MIN, le=limits.INT64_MAX)]
    topics: Annotated[list[str], Field(max_length=limits.TOPICS)] | None
    latched: bool
    form: Annotated[Literal["messages", "mcap", "db3"], Field(alias="as")]
    scratch: str


def write(request: Request, out: BinaryIO, scratch: Path) -> None:
    """Writes the excerpt. Raises SourceFailed, BadIndex, CannotExtract, CannotSlice, Hostile, OSError."""
    connections = Connections()
    index = unpack(connections.get_all(request.index_url, PACKED_BYTES))
    ranges = HttpRanges({name: Source(file.url, file.size) for name, file in request.files.items()}, connections)
    start_ns, end_ns, latched = request.start_ns, request.end_ns, request.latched
    topics = None if request.topics is None else frozenset(request.topics)
    workspace = Workspace(scratch, math.inf)
    with readable(index, ranges, workspace, start_ns=start_ns, end_ns=end_ns, latched=latched) as (parted, parts):
        found = messages(parted, parts, start_ns=start_ns, end_ns=end_ns, topics=topics, latched=latched)
        # What fails at once is to fail before anything is written.
        found = chain(list(islice(found, 1)), found)
        if request.form == "messages":
            write_lines(parted, found, out)
        elif request.form == "mcap":
            write_mcap(parted, found, out, name=_slice_name(request.name), start_ns=start_ns)
        else:
            write_db3(parted, found, out, name=_slice_name(request.name), start_ns=start_ns, scratch=scratch)
    out.flush()


def write_lines(index: Index, found: Iterator[Message], out: BinaryIO) -> None:
    """Writes messages as JSON, the first at once, others as soon as there are enough or some time has passed."""
    decoder = Decoder(index)
    lines: list[bytes] = []
    size, due = 0, 0.0
    for message in found:
        lines.append(decoder.line(message))
        size += len(lines[-1])
        if size >= WRITE_BYTES or time.monotonic() >= due:
            out.write(b"".join(lines))
            out.flush()
            lines, size, due = [], 0, time.monotonic() + WRITE_SECONDS
    out.write(b"".join(lines))


def _slice_name(name: str) -> str:
    """The name of a slice's folder, which is one part of a path wherever it is unpacked."""
    return re.sub(r"[\x00-\x1f\x7f/\\]", "_", name).encode()[:200].decode(errors="ignore") + "_slice"


def _end_with_stdin(folder: str) -> None:
    """Ends this process when the reader closes stdin or is gone, whatever else is done; what was made is removed."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main() -> None:
    """Answers one request, or none when stdin ends before."""
    confine(CPU_SECONDS)
    signal.alarm(0)  # stdin says when to end
    if not select.select([sys.stdin], [], [], 0)[0]:
        # While nobody waits: what messages without a definition need.
        known_types()
    line = sys.stdin.buffer.readline(LARGEST_REQUEST)
    if not line:
        return
    try:
        request = Request.model_validate_json(line)
        with tempfile.TemporaryDirectory(dir=request.scratch, prefix="excerpt-") as folder:
            threading.Thread(target=_end_with_stdin, args=(folder,), daemon=True).start()
            write(request, sys.stdout.buffer, Path(folder))
    except tuple(CODES) as error:
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        _fail(code, str(error))


def _fail(code: str, message: str) -> NoReturn:
    print(json.dumps({"code": code, "message": message[:1000]}), file=sys.stderr, flush=True)
    # Nothing that waits to be written may make a broken answer whole.
    os._exit(1)


if __name__ == "__main__":
    main()
