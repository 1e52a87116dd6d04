"""Finds processes in /proc by what they carry, for a pid alone proves nothing. Used by the local runtime and recorders.

Fields of /proc/PID/stat: proc(5).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SESSION, _RSS = 5 - 2, 23 - 2  # places in the text behind the command's closing parenthesis, which is field 2


def pids() -> Iterator[int]:
    """Every process there is."""
    return (int(name) for name in os.listdir(_PROC) if name.isdigit())


def in_session(session: int) -> dict[int, int]:
    """The processes of a session, zombies left out: pid -> resident bytes."""
    found = {}
    for pid in pids():
        fields = _stat(pid)
        if fields is not None and fields[0] != "Z" and int(fields[_SESSION]) == session:
            found[pid] = int(fields[_RSS]) * _PAGE
    return found


def carrying(cmdline: bytes, environment: frozenset[bytes]) -> list[int]:
    """The processes with `cmdline` among their arguments, or all of `environment` (NAME=value) in theirs."""
    found = []
    for pid in pids():
        if pid == os.getpid():
            continue
        if cmdline in _read(pid, "cmdline").split(b"\0") or environment <= set(_read(pid, "environ").split(b"\0")):
            found.append(pid)
    return found


def carries(pid: int, environment: frozenset[bytes]) -> bool:
    """Whether this process has all of `environment` in its own."""
    return environment <= set(_read(pid, "environ").split(b"\0"))


def kill(pids_to_kill: Iterator[int] | list[int]) -> None:
    """SIGKILL each; those that are gone are gone."""
    for pid in pids_to_kill:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    text = _read(pid, "stat").decode(errors="replace")
    return text.rpartition(")")[2].split() or None


def _read(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:  # it ended meanwhile, or is not ours to look into
        return b""
