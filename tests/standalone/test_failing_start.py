"""A start that fails: one line that names the part and the remedy, an exit code, and nothing left running."""

from pathlib import Path

import pytest

from standalone.ports import HOST
from tests.standalone.running import Running, is_deserted, running

pytestmark = pytest.mark.servers


def complaint_of(stack: Running) -> str:
    """The one line of a start that failed and left nothing."""
    assert stack.process.wait(60) == 1
    assert stack.said == ""
    [line] = stack.complaint.splitlines()
    assert is_deserted(stack.data)
    assert not (stack.data / "pids.json").exists()
    return line


def test_an_install_step_that_fails(tmp_path: Path) -> None:
    with running(tmp_path / "data", environment={"FAKE_INSTALL": "failing_install"}) as stack:
        assert complaint_of(stack) == ("simyard: install: Error: the third migration does not apply; "
                                       f"see {stack.data}/logs/install.log")


def test_web_that_cannot_run(tmp_path: Path) -> None:
    with running(tmp_path / "data", environment={"FAKE_WEB": "no_such_role"}) as stack:
        assert complaint_of(stack).startswith("simyard: web: KeyError: 'no_such_role'; see ")


def test_a_wrong_database_url_in_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=mysql://a:b@{HOST}/c\n")
    with running(tmp_path / "data") as stack:
        assert complaint_of(stack) == ("simyard: postgres: DATABASE_URL does not begin with postgresql://; correct "
                                       "DATABASE_URL, or leave it out to have a server started")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    stack = Running(tmp_path / "file" / "data", log_folder=tmp_path)
    assert stack.process.wait(60) == 1
    assert stack.complaint.splitlines() == [
        f"simyard: {stack.data} cannot be used: [Errno 20] Not a directory: '{stack.data}'; "
        "make room and let us write, or choose another --data"]


def test_kept_passwords_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/kept.json").write_text("{")
    with running(tmp_path / "data") as stack:
        assert complaint_of(stack) == (f"simyard: {stack.data}/kept.json: it is not a JSON object; "
                                       "restore it, or choose another --data")
