"""What guards cost, and that nothing in a folder keeps them from their work."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import until
from workers import guards
from workers.guards import Guard, Paced, PodGuard

LOOK_SECONDS = 0.2


class FakeTime:
    """A thread that is on its core only while it looks at something."""

    def __init__(self, cost: float) -> None:
        self.cost, self.now, self.spent, self.looks = cost, 0.0, 0.0, 0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.spent

    def look(self, *_: object) -> Any:
        self.looks += 1
        self.spent += self.cost
        self.now += self.cost
        return 0


@given(st.floats(0.0001, 30), st.integers(1, 2000))
def test_a_look_that_takes_long_is_taken_rarely(cost: float, rounds: int) -> None:
    """At most a fortieth of a core, but for the first look; and whenever it costs less than that."""
    with pytest.MonkeyPatch.context() as patch:
        time = FakeTime(cost)
        patch.setattr(guards, "time", time)
        paced = Paced(time.look)
        for _ in range(rounds):
            paced()
            time.now += LOOK_SECONDS
        assert time.spent <= time.now / 40 + cost
        assert time.looks >= min(rounds, rounds * LOOK_SECONDS / (cost * 41 + LOOK_SECONDS))
        if cost < LOOK_SECONDS / 41:
            assert time.looks == rounds


@pytest.mark.parametrize("guard", [Guard, PodGuard])
def test_a_folder_of_very_many_files_is_walked_rarely(
        guard: type[Guard] | type[PodGuard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second each time, as for 200,000 files: a walk in twenty seconds, not two in one."""
    time = FakeTime(0.5)
    monkeypatch.setattr(guards, "time", time)
    monkeypatch.setattr(guards, "bytes_written", time.look)
    monkeypatch.setattr(guards.processes, "in_session", lambda session: {})
    (tmp_path / "main.pid").write_text("4194304")
    watching = guard(tmp_path, {"memory_mb": None, "disk_mb": 1})
    for _ in range(1000):
        watching.look()
        time.now += LOOK_SECONDS
    assert 9 <= time.looks <= 11


def test_what_was_written_is_counted_however_deep_but_not_what_was_given(tmp_path: Path) -> None:
    place = tmp_path / "output"
    for _ in range(300):
        place /= "d"
    place.mkdir(parents=True)
    (place / "bag").write_bytes(b"x" * 8192)
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "given").write_bytes(b"x" * 8192)
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "output" / "holes").touch()
    os.truncate(tmp_path / "output" / "holes", 1 << 40)
    assert guards.bytes_written(tmp_path) == 8192


@pytest.mark.parametrize("name", ["limit", "main.pid"])
def test_a_pipe_in_place_of_our_files_keeps_no_guard_waiting(tmp_path: Path, name: str) -> None:
    control = tmp_path / "control"  # what lies beside it counts as written
    control.mkdir()
    (control / "main.pid").write_text("4194304")
    (control / name).unlink(missing_ok=True)
    os.mkfifo(control / name)
    Guard(control, {"memory_mb": 1, "disk_mb": 1}).look()


def test_a_program_past_its_limit_ends_although_there_is_no_room_to_say_why(tmp_path: Path) -> None:
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    (tmp_path / "main.pid").write_text(str(program.pid))
    (tmp_path / "limit").mkdir()
    guard = Guard(tmp_path, {"memory_mb": 1, "disk_mb": None})
    with pytest.raises(OSError, match="limit"):
        until(guard.look)  # type: ignore[arg-type, func-returns-value]
    assert program.wait(60) == -9
