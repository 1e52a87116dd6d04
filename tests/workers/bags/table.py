"""The table of docs/bags.md: what is found in each unit of the collection. A test compares it, and
`python -m tests.workers.bags.table` writes it anew.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.workers.bags.collection import found_in, recordings, true_files, unit_of
from workers.bags.recordings import Recording
from workers.bags.shapes import Facts

PAGE = Path(__file__).parents[3] / "docs" / "bags.md"
HEAD = "| recording | storage | state | messages | in truth | problems |\n|---|---|---|---:|---:|---|\n"


def table() -> str:
    """One row for each unit of the truth, of all that was found in it."""
    found: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings():
        found[unit_of(recording)].append(recording)
    return HEAD + "".join(_row(unit, members) for unit, members in sorted(found.items()))


def parts() -> tuple[str, str]:
    """The page before its table, and the table as it is written there."""
    text, head, rows = PAGE.read_text().partition(HEAD)
    return text, head + rows


def _row(unit: str, members: list[Recording]) -> str:
    facts = [found_in(recording) for recording in members]
    truth = sum(file.get("n") or 0 for recording in members for file in true_files(recording))
    cells = (
        unit,
        _each(found.storage or "" for found in facts),
        _each(_state(found) for found in facts),
        str(sum(found.messages for found in facts)),
        str(truth),
        _each(problem.code for found in facts for problem in found.problems),
    )
    return "| " + " | ".join(cells) + " |\n"


def _state(found: Facts) -> str:
    return f"{found.state}: {found.reason}" if found.reason else found.state


def _each(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


if __name__ == "__main__":
    PAGE.write_text(parts()[0] + table())
