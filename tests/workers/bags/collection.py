"""The collection of real recordings and its truth, which was measured by other means. It is not part of the sources."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from workers.bags.facts import facts
from workers.bags.recordings import Recording, discover
from workers.bags.shapes import Facts

BAGS = Path(os.environ.get("SIMYARD_BAGS", str(Path(__file__).parents[4] / "shared" / "data" / "bags")))


@cache
def units() -> dict[str, dict[str, Any]]:
    """The collection's units by path."""
    truth = BAGS / "truth.json"
    if not truth.is_file():
        pytest.fail(f"no collection of recordings at {BAGS}: set SIMYARD_BAGS to a folder that holds truth.json")
    return {
        f"{folder}/{unit['unit']}".removesuffix("/."): unit
        for folder, found in json.loads(truth.read_text()).items()
        for unit in found
    }


@cache
def recordings() -> tuple[Recording, ...]:
    """Every recording of the collection, as it is found there."""
    units()
    return tuple(discover(BAGS))


@cache
def found_in(recording: Recording) -> Facts:
    """Its facts, read once."""
    return facts(recording)


def unit_of(recording: Recording) -> str:
    """The path of the unit that a recording is, or is a file of."""
    return recording.path if recording.path in units() else recording.path.rpartition("/")[0]


def true_files(recording: Recording) -> list[dict[str, Any]]:
    """The truth of the files that make the recording: the listed ones where all of them are there, else every one."""
    unit = units()[unit_of(recording)]
    there = [file for file in unit["files"] if file["name"] in recording.files]
    listed = {Path(path).name for path in unit.get("meta", {}).get("paths", [])}
    complete = listed and listed <= {file["name"] for file in there}
    return [file for file in there if file["name"] in listed] if complete else there
