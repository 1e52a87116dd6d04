"""The stack belongs to whoever starts it: root, as in the other tests when root runs them, or an ordinary user."""

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standalone.identity import NAMESPACE
from tests.standalone.running import bare, flat, is_deserted, running

pytestmark = pytest.mark.servers


@pytest.fixture
def home() -> Iterator[Path]:
    """The closed home of whoever is to start the stack."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def ordinary(home: Path) -> dict[str, Any]:
    """How to start Python as an ordinary user: as we are; or as nobody, who gets the home; or as what looks like nobody
    where Python is out of nobody's reach."""
    if os.geteuid() != 0:
        return {"python": [sys.executable]}
    nobody = pwd.getpwnam("nobody")
    ids = (nobody.pw_uid, nobody.pw_gid)
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        if can_run(python, home, ids):
            os.chown(home, *ids)
            return {"python": [python], "user": ids}
    return {"python": [*NAMESPACE, sys.executable]}


def can_run(python: str, home: Path, ids: tuple[int, int]) -> bool:
    try:
        done = subprocess.run([python, "-c", "import standalone.up"], user=ids[0], group=ids[1], extra_groups=[],
                              env=bare(home), cwd="/", check=False, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def test_an_ordinary_user_can_start_it_in_a_closed_home(home: Path) -> None:
    who = ordinary(home)
    with running(home / "data", **who) as stack:
        facts = stack.facts()
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in flat(facts["pids"])}
        assert owners == {who.get("user", (os.geteuid(), 0))[0]}
        assert (home / ".config/simyard/profile.json").exists()
        assert stack.end() == 0
    assert is_deserted(stack.data)
