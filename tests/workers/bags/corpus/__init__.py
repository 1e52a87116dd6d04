"""Files made to harm, each with what must come of it. Read by test_hostile.py."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Makes files in a folder and gives the path to examine.
Maker = Callable[[Path], Path]


@dataclass(frozen=True)
class Case:
    """What to make, and what comes of it: refusal for a reason, or whatever is safe; a code among its problems."""

    make: Maker
    fate: Literal["hostile", "not_a_recording", "safe"]
    code: str = ""
    messages: int | None = None
    seconds: float = 30.0


def hostile(make: Maker, seconds: float = 30.0) -> Case:
    """Refused as made to harm."""
    return Case(make, "hostile", "hostile", 0, seconds)


def worthless(make: Maker, code: str = "file_not_a_recording") -> Case:
    """No recording at all."""
    return Case(make, "not_a_recording", code, 0)


def safe(make: Maker, code: str = "", messages: int | None = None) -> Case:
    """Read as far as it is whole."""
    return Case(make, "safe", code, messages)


def later(maker: Callable[[], Maker]) -> Maker:
    """Made of what takes a while to make."""

    def make(folder: Path) -> Path:
        return maker()(folder)

    return make


def file(name: str, content: bytes) -> Maker:
    """One file, in a folder of its own."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder

    return make


def sparse(name: str, content: bytes, size: int = 1 << 40) -> Maker:
    """A file whose content is followed by a hole."""

    def make(folder: Path) -> Path:
        with (folder / name).open("wb") as writing:
            writing.write(content)
            writing.truncate(size)
        return folder

    return make
