"""The running service against its own description, by schemathesis: a tool that nobody here wrote."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack

ROOT = Path(__file__).parents[2]
# Streams have no end to wait for; who logs out has no token for the rest.
LEFT_OUT = r"(/events|/stream|/logs|/auth/logout|/auth/logout-all)$"


@pytest.fixture
def lone_stack(tmp_path: Path) -> Iterator[Stack]:
    """It is paused, filled and emptied as chance will have it."""
    with Stack(tmp_path / "stack") as stack:
        yield stack


@pytest.mark.timeout(400)
def test_whatever_is_asked_the_answer_is_as_described(lone_stack: Stack, tmp_path: Path) -> None:
    token = lone_stack.http.headers["Authorization"]
    done = subprocess.run(
        [Path(sys.executable).parent / "schemathesis", "--config-file", ROOT / "schemathesis.toml", "run",
         f"{lone_stack.ready['url']}/openapi.json", "--header", f"Authorization: {token}", "--checks", "all",
         "--max-examples", "8", "--seed", "4", "--continue-on-failure", "--request-timeout", "60",
         "--exclude-path-regex", LEFT_OUT],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout[-20_000:]
    errors = [line for line in (lone_stack.data / "logs" / "web.log").read_text().splitlines() if '"ERROR"' in line]
    assert errors == []
