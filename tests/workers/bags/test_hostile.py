"""Recordings made to harm: each is refused or read safely, and nothing outside of the cage changes."""

from dataclasses import asdict
from pathlib import Path

import pytest

from tests.workers.bags.corpus import Case, bags1, databases, documents, mcaps, packings, places
from tests.workers.bags.making import codes
from workers.bags.cage import examine
from workers.bags.facts import facts
from workers.bags.recordings import recording_at

CORPUS = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("sqlite", databases.CASES),
        ("mcap", mcaps.CASES),
        ("ros 1", bags1.CASES),
        ("yaml", documents.CASES),
        ("zstd", packings.CASES),
        ("files", places.CASES),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS.keys())
def test_what_is_made_to_harm_is_refused_or_read_safely(tmp_path: Path, case: Case) -> None:
    inside, scratch = tmp_path / "recording", tmp_path / "scratch"
    inside.mkdir()
    scratch.mkdir()
    path = case.make(inside)
    before = traces(inside)
    # What exhausts its reader, or a library in C, is read in the cage; what only lies is read here, which is quicker.
    if case.fate == "hostile" or case in (*databases.CASES.values(), *packings.CASES.values()):
        found = examine(path, case.seconds, scratch=scratch)
    else:
        found = asdict(facts(recording_at(path), scratch=scratch, seconds=case.seconds))
    assert traces(inside) == before
    assert list(scratch.iterdir()) == []
    problems = found["problems"]
    if case.fate == "safe":
        assert found["state"] in ("READY", "DAMAGED"), problems
        assert case.messages in (None, found["messages"]), problems
    else:
        assert (found["state"], found["reason"], found["messages"]) == ("REJECTED", case.fate, 0), problems
    assert not case.code or case.code in codes(found), problems
    if case.seconds > 2:
        assert not any("takes longer" in problem["message"] for problem in problems)


def test_there_are_more_than_two_hundred_of_them() -> None:
    assert len(CORPUS) > 200


def traces(folder: Path) -> dict[str, tuple[int, ...]]:
    """What tells whether anything below changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, status.st_blocks, status.st_mtime_ns)
    return found
