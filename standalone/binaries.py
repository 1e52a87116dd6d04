"""Where the servers' programs are: in an installed wheel, or else where Debian puts them. Asks no wheel's own code."""

from collections.abc import Sequence
from glob import glob
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from standalone.failures import StartFailed


def find(part: str, wheel: str, ending: str, installed: Sequence[str], setting: str) -> Path:
    """The program whose path in the wheel ends so, or the newest that matches one of the installed patterns."""
    found = _in_wheel(wheel, ending) or [Path(path) for pattern in installed for path in sorted(glob(pattern))[-1:]]  # noqa: PTH207
    if not found:
        raise StartFailed(part, f"no program for it was found, neither in the wheel {wheel} nor at "
                          + " or ".join(installed), f"install simyard[standalone], or set {setting}")
    return found[0]


def _in_wheel(wheel: str, ending: str) -> list[Path]:
    try:
        parts = files(wheel) or []
    except PackageNotFoundError:
        return []
    paths = [Path(str(part.locate())).resolve() for part in parts if str(part).endswith(ending)]
    return [path for path in paths if path.is_file()]
