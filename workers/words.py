"""What a program says of itself: its log, its progress, its verdict. Read by the recorder while the program runs and
after its end; any of it may be missing, odd, or no file at all."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from workers.folders import read_plain

LOG_WINDOW = 64 * 1024
LARGEST_RESULT = 1 << 20
OURS = ("progress.jsonl", "result.json")


class Log:
    """The program's output as it grows. Only its last 64 KiB are told; the whole is uploaded at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = 0

    def size(self) -> int:
        """Its bytes so far."""
        status = _plain(self.path)
        return status.st_size if status else 0

    def chunk(self) -> dict[str, Any] | None:
        """What was not told yet, None when there is nothing."""
        size = self.size()
        if size <= self._told:
            return None
        start = max(self._told, size - LOG_WINDOW)
        return {"offset": self._told, "skipped": start - self._told, "bytes": size - start,
                "text": self._text(start, size)}

    def told(self, end: int) -> None:
        """Web has heard all up to here."""
        self._told = end

    def tail(self, size: int) -> str:
        """The last 64 KiB of its first `size` bytes."""
        return self._text(max(0, size - LOG_WINDOW), size)

    def _text(self, start: int, end: int) -> str:
        text = read_plain(self.path, end - start, start).decode("utf-8", "replace")
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def last_progress(output: Path) -> dict[str, Any] | None:
    """The last whole line of progress.jsonl that is a progress, None when there is none."""
    for line in reversed(read_plain(output / "progress.jsonl", 8192).split(b"\n")[:-1]):
        said = _object(line)
        if said:
            percent, message = _number(said.get("percent")), said.get("message")
            return {"percent": percent if percent is not None and 0 <= percent <= 100 else None,
                    "sim_time": _number(said.get("sim_time")),
                    "message": clean(message, 500) if isinstance(message, str) else None}
    return None


def _number(value: Any) -> float | int | None:
    """A finite number that a database takes, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    return value


def clean(value: str, size: int) -> str:
    """Text that JSON, UTF-8 and Postgres all take."""
    return value[:size].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def verdict(output: Path) -> tuple[dict[str, Any], list[str]]:
    """The simulator's verdict from result.json, passed and metrics, as far as they are what they should be; and what
    is wrong with it."""
    path = output / "result.json"
    if not _plain(path):
        return {}, []
    said = _object(read_plain(path, LARGEST_RESULT))
    if said is None:
        return {}, ["result.json is not a JSON object"]
    stated = said.get("metrics")
    metrics: dict[str, Any] = stated if isinstance(stated, dict) else {}
    numbers = {clean(name, 200): float(value) for name, value in list(metrics.items())[:1000]
               if _number(value) is not None}
    passed = said["passed"] if isinstance(said.get("passed"), bool) else None
    return {"passed": passed, "metrics": numbers}, [] if len(numbers) == len(metrics) else [
        "some metrics in result.json are not finite numbers"]


def ingested(control: Path) -> dict[str, Any]:
    """What an ingester has left, as it is to be told; nothing when it left nothing."""
    said = _object(read_plain(control / "ingested.json", 8 << 20))
    return {} if said is None else {"ingested": said}


def _plain(path: Path) -> os.stat_result | None:
    """Of a plain file, else None."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
