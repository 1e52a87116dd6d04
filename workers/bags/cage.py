"""Examines one recording in a child that may be exhausted, crashed or fooled without harm. Called by the recorder."""

import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from workers.bags import limits
from workers.bags.facts import rejected
from workers.bags.problems import Code, Problems
from workers.bags.recordings import recording_at
from workers.bags.shapes import Facts

ROOT = Path(__file__).parents[2]
# Ends that the input brings about: limits of memory, time and size, faults in a parser. SIGKILL comes from elsewhere.
INPUT_SIGNALS = frozenset(
    {signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL}
    | {signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP, signal.SIGALRM}
)
# What the child takes to start and to answer comes on top of the time it may read.
GRACE_SECONDS = 2.0


class Killed(Exception):
    """The child died of what it read. The text says of what."""


class ExaminationFailed(Exception):
    """We failed, not the recording: worth another try. The text says how."""


def examine(
    path: Path, timeout_seconds: float, *, scratch: Path | None = None, index: Path | None = None
) -> dict[str, Any]:
    """The facts of the recording that is the folder or file `path`, as JSON types in the shape of shapes.Facts.

    Takes up to `timeout_seconds` and a moment. Private copies go below `scratch` (or the system's temporary folder) and
    are gone afterwards. The file `index` is written with what reading parts of it needs (see index.py); there
    is none when the recording is refused or cannot be indexed. Raises ExaminationFailed when the machine or we failed.
    """
    facts = None
    try:
        facts = _examine(path, timeout_seconds, scratch, index)
    finally:
        if index and (facts is None or facts["state"] == "REJECTED"):
            index.unlink(missing_ok=True)
    return facts


def _examine(path: Path, timeout_seconds: float, scratch: Path | None, index: Path | None) -> dict[str, Any]:
    try:
        with TemporaryDirectory(dir=scratch, prefix="simyard-cage-") as folder, TemporaryFile() as complaints:
            child = _start(path, timeout_seconds, folder, complaints, index)
            try:
                answer = _read_answer(child, time.monotonic() + timeout_seconds + GRACE_SECONDS)
            finally:
                _end(child)
            if answer is None:
                return _refusal(path, f"reading it takes longer than {timeout_seconds:g} s, or its facts are endless")
            _judge_end(path, child.returncode, complaints)
        return _checked(path, answer)
    except Killed as error:
        return _refusal(path, str(error))
    except OSError as error:
        raise ExaminationFailed(f"{path}: {error}") from error


def _start(
    path: Path, seconds: float, scratch: str, complaints: IO[bytes], index: Path | None
) -> subprocess.Popen[bytes]:
    """The child: nothing of our environment, no descriptor but the answer's, a session of its own."""
    # -P: the current folder, which may hold what a simulator wrote, is no place to import from.
    command = [sys.executable, "-P", "-m", "workers.bags", str(path.absolute()), f"{seconds:g}", str(os.getpid())]
    command += [str(index.absolute())] if index else []
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "TMPDIR": scratch}
    return subprocess.Popen(
        command,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        start_new_session=True,
    )


def _read_answer(child: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """All the child writes until it ends; None when that takes too long or is too much."""
    assert child.stdout is not None  # noqa: S101 for the type checker: it is a pipe
    answer = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while len(answer) <= limits.ANSWER_BYTES + 1 and selector.select(max(0.0, deadline - time.monotonic())):
            block = os.read(child.stdout.fileno(), 1 << 16)
            if not block:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, deadline - time.monotonic()))
                    return bytes(answer)
                return None
            answer += block
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child, and what it may have started, if it still runs."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout:
        child.stdout.close()


def _judge_end(path: Path, status: int, complaints: IO[bytes]) -> None:
    """Raises Killed when the input ended the child, ExaminationFailed when anything else did."""
    if status < 0 and -status in INPUT_SIGNALS:
        raise Killed(f"reading it ended by {signal.Signals(-status).name}")
    if status:
        complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 2_000))
        text = complaints.read(2_000).decode("utf-8", "replace")
        raise ExaminationFailed(f"{path}: the child ended with {status}: {text}")


def _checked(path: Path, answer: bytes) -> dict[str, Any]:
    """The answer, when it has the promised shape and only numbers that a database takes."""
    try:
        facts = asdict(_shape().validate_json(answer, strict=True))
        _bounded(facts)
    except (ValidationError, ValueError) as error:
        raise ExaminationFailed(f"{path}: the child's answer is not what was agreed: {str(error)[:1000]}") from error
    return facts


@cache
def _shape() -> TypeAdapter[Facts]:
    return TypeAdapter(Facts)


def _bounded(value: Any) -> None:
    if isinstance(value, int) and not limits.INT64_MIN <= value <= limits.INT64_MAX:
        raise ValueError(f"{value} is no int64")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _bounded(part)


def _refusal(path: Path, message: str) -> dict[str, Any]:
    problems = Problems()
    problems.add(Code.HOSTILE, message)
    return asdict(rejected(recording_at(path), "hostile", problems))
