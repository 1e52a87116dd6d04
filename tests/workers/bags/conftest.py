"""What the tests of recordings share."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from workers.bags.facts import facts
from workers.bags.recordings import recording_at


class Reader:
    """Reads a recording in this process, quicker than in the cage; the answer has the cage's shape."""

    def __call__(self, path: Path) -> dict[str, Any]:
        return asdict(facts(recording_at(path), seconds=60))


@pytest.fixture
def read() -> Reader:
    return Reader()
