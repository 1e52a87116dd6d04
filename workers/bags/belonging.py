"""Which data files of a folder make up the recording, and which claimed ones are not there. Used by facts."""

import re
from dataclasses import dataclass

from workers.bags.metadata import Claim
from workers.bags.problems import Code, Problems

SPLIT = re.compile(r"(.*)_[0-9]+\.(?:db3|mcap)")


@dataclass(frozen=True)
class Belonging:
    """Names of the files that count, of listed ones that are missing, and of counted ones that no list names."""

    counted: tuple[str, ...]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]


def belonging(data: list[str], claim: Claim | None, problems: Problems) -> Belonging:
    """Every data file counts, but for packed twins and strays beside a complete list. Paths mean their last part."""
    for path in claim.outside if claim else ():
        problems.add(Code.METADATA_PATH_OUTSIDE, f"metadata.yaml lists {path[:200]!r}; only its last part is used")
    twins = {name for name in data if name.endswith(".zstd") and plain(name) in data}
    for name in sorted(twins):
        problems.add(Code.FILE_DUPLICATE, "the packed twin of a file that is there too; not counted", file=name)
    single = [name for name in data if name not in twins]
    if not claim or not claim.files:
        return Belonging(tuple(single), (), ())
    listed = {plain(name): name for name in claim.files}
    present = {plain(name) for name in single}
    missing = tuple(name for key, name in listed.items() if key not in present)
    unlisted = [name for name in single if plain(name) not in listed]
    strays = [name for name in unlisted if not missing and not _is_sibling(name, list(listed))]
    for name in unlisted:
        counts = "not counted" if name in strays else "counted"
        problems.add(Code.FILE_UNLISTED, f"metadata.yaml does not list it; {counts}", file=name)
    counted = tuple(name for name in single if name not in strays)
    return Belonging(counted, missing, tuple(name for name in unlisted if name not in strays))


def plain(name: str) -> str:
    """A file's name without its packing: metadata.yaml and the folder may differ in that alone."""
    return name.removesuffix(".zstd")


def _is_sibling(name: str, listed: list[str]) -> bool:
    """True when `name` is numbered as a further split of a listed file: the recorder died before it listed it."""
    match = SPLIT.fullmatch(plain(name))
    others = [SPLIT.fullmatch(other) for other in listed]
    return match is not None and any(other is not None and other[1] == match[1] for other in others)
