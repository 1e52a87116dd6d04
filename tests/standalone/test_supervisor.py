"""The supervisor with small programs: what ends is started again, what shall end ends, nothing is left."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.children import LOG_BYTES, Child, Part
from standalone.failures import NotReady, StartFailed
from standalone.supervisor import Supervisor
from tests.standalone.running import is_alive
from tests.waiting import until

ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Enough(Exception):
    """Ends watch()."""


def program(name: str, script: str, **more: object) -> Part:
    return Part(name=name, command=["sh", "-c", script], environment=ENVIRONMENT, cwd=Path("/"), **more)  # type: ignore[arg-type]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs")
    yield supervisor
    supervisor.stop(seconds=0)


def test_what_ends_is_started_again_until_it_is_told_to_stop(tmp_path: Path) -> None:
    seen: list[dict[str, int]] = []

    def pause(seconds: float) -> None:
        if len(seen) == 2:
            raise Enough
        time.sleep(min(seconds, 0.02))

    def changed() -> None:
        seen.append(supervisor.pids())
        os.kill(seen[-1]["short"], signal.SIGKILL)

    supervisor = Supervisor(tmp_path / "logs", pause=pause, changed=changed)
    supervisor.start(program("short", "exec sleep 60"), program("long", "exec sleep 60"))
    supervisor.wait_until_ready()
    first = supervisor.pids()
    os.kill(first["short"], signal.SIGKILL)
    with pytest.raises(Enough):
        supervisor.watch()
    supervisor.stop(seconds=30)
    assert supervisor.pids() == {}
    assert len({first["short"], seen[0]["short"], seen[1]["short"]}) == 3
    assert first["long"] == seen[1]["long"]
    assert not is_alive(first["long"])


def test_a_part_is_waited_for_until_it_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    def ready() -> None:
        if not (tmp_path / "ready").exists():
            raise NotReady("not yet")

    supervisor.start(program("slow", f"sleep 0.2; touch {tmp_path}/ready; exec sleep 60", ready=ready))
    supervisor.wait_until_ready()
    assert (tmp_path / "ready").exists()


def test_a_part_that_ends_before_it_is_ready_fails_the_start_with_its_own_words(supervisor: Supervisor) -> None:
    def ready() -> None:
        raise NotReady("never")

    supervisor.start(program("broken", "echo all is well; echo FATAL: no such role.; echo bye; exit 1", ready=ready))
    with pytest.raises(StartFailed, match=r"^broken: FATAL: no such role; see .*broken\.log$"):
        supervisor.wait_until_ready()


def test_a_part_that_never_becomes_ready_fails_the_start_with_what_was_seen(supervisor: Supervisor) -> None:
    def ready() -> None:
        raise NotReady("it answers 503")

    supervisor.start(program("sick", "exec sleep 60", ready=ready, ready_seconds=0.1))
    with pytest.raises(StartFailed, match="sick: not ready within 0 s, it answers 503"):
        supervisor.wait_until_ready()


def test_a_step_that_fails_says_why(supervisor: Supervisor) -> None:
    with pytest.raises(StartFailed, match="step: ended with exit code 7; see"):
        supervisor.run(program("step", "exit 7"), seconds=60)


def test_a_step_that_takes_too_long_is_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="did not finish within 0 s"):
        supervisor.run(program("step", f"echo $$ > {tmp_path}/pid; exec sleep 60"), seconds=0.3)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_what_does_not_heed_is_killed_with_its_session(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program("deaf", f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/other; while :; do wait; done"))
    until(lambda: (tmp_path / "other").exists() and (tmp_path / "other").read_text())
    other = int((tmp_path / "other").read_text())
    supervisor.stop(seconds=0.2)
    until(lambda: not is_alive(other))


def test_what_a_dead_part_leaves_in_its_session_is_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program("parent", f"sleep 60 & echo $! > {tmp_path}/orphan"))
    until(lambda: (tmp_path / "orphan").exists() and (tmp_path / "orphan").read_text())
    supervisor.stop(seconds=5)
    until(lambda: not is_alive(int((tmp_path / "orphan").read_text())))


def test_the_last_act_is_not_cut_short_by_the_stop(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program("part", "exec sleep 60"))
    supervisor.stop(last_act=program("act", f"sleep 0.3; echo done > {tmp_path}/act"), seconds=30)
    assert (tmp_path / "act").read_text() == "done\n"


def test_a_part_is_asked_to_end_by_its_own_signal(supervisor: Supervisor, tmp_path: Path) -> None:
    # Not SIGINT or SIGQUIT: in the background of a shell those are ignored, and no shell below it can trap them.
    script = f"trap 'echo heard > {tmp_path}/heard; exit' USR1; touch {tmp_path}/set; while :; do sleep 0.05; done"
    supervisor.start(program("part", script, stop_signal=signal.SIGUSR1))
    until((tmp_path / "set").exists)
    supervisor.stop(seconds=30)
    assert (tmp_path / "heard").exists()


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = f"""
import pathlib, os, signal, time
from standalone.children import Child, Part
part = Part(name="part", command=["sleep", "60"], environment={ENVIRONMENT!r}, cwd=pathlib.Path("/"))
pathlib.Path("{tmp_path}/pid").write_text(str(Child(part, pathlib.Path("{tmp_path}")).pid))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert os.spawnle(os.P_WAIT, sys.executable, sys.executable, "-c", script,
                      os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) == -signal.SIGKILL
    until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_children_are_made_on_the_main_thread_only(tmp_path: Path) -> None:
    errors: list[RuntimeError] = []

    def make() -> None:
        try:
            Child(program("part", "exit"), tmp_path)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_a_log_that_has_grown_large_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_bytes(b"x" * (LOG_BYTES + 1))
    (tmp_path / "worker1.log").write_text("small")
    Supervisor(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log.1", "worker1.log"]
