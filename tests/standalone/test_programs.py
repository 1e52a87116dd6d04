"""Programs that are ended by force: those of this stack, and nobody else's."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from standalone import programs
from tests.waiting import until


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as undo:
        yield undo


def start(undo: ExitStack, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
    process = undo.enter_context(subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **environment}))
    undo.callback(process.kill)
    return process


def test_programs_of_the_folder_are_ended_and_others_are_not(undo: ExitStack, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "ours-too"
    program = start(undo, "sleep", "60", SIMYARD_OUTPUT=f"{ours}/attempts/a/output")
    recorder = start(undo, "sh", "-c", "sleep 60; :", "workers.recorder", f"{ours}/attempts/a/.simyard")
    strange = start(undo, "sleep", "60", SIMYARD_OUTPUT=f"{theirs}/attempts/a/output")
    reader = start(undo, "sh", "-c", "sleep 60; :", f"{ours}/attempts/a/log")
    assert programs.end(ours) == 2
    assert (program.wait(60), recorder.wait(60)) == (-9, -9)
    assert (strange.poll(), reader.poll()) == (None, None)


def test_a_shim_can_write_down_how_its_program_ended(undo: ExitStack, tmp_path: Path) -> None:
    shim = tmp_path / "shim.sh"
    shim.write_text(f"sh -c 'touch {tmp_path}/begun; exec sleep 60' & wait $!; echo $? > {tmp_path}/status; exit 5\n")
    process = start(undo, "sh", str(shim), SIMYARD_OUTPUT=f"{tmp_path}/output")
    until((tmp_path / "begun").exists)
    assert programs.end(tmp_path, settle=process.wait) == 1
    assert process.returncode == 5
    assert (tmp_path / "status").read_text() == "137\n"
