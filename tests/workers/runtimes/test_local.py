"""What only the local runtime has: files, locks, sessions, environment."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.domain.errors import Unavailable
from shared.domain.specs import Program, Resources
from tests.contract.test_runtime import clear
from tests.fakes import FakeWeb
from tests.waiting import until
from workers.runtimes import local, processes
from workers.runtimes.base import Name, Recorder, Run, Seen
from workers.runtimes.local import LocalRuntime

WAIT = "import signal, time\nprint('up', flush=True)\n"


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    with FakeWeb() as web:
        yield web


@pytest.fixture
def runtime(tmp_path: Path, web: FakeWeb) -> Iterator[LocalRuntime]:
    runtime = LocalRuntime(tmp_path, {"url": web.url}, {"PATH": "/usr/bin:/bin", "HOME": "/home/x"})
    yield runtime
    clear(runtime)


def start(runtime: LocalRuntime, *command: str, **fields: object) -> Name:
    run = Run(Name(uuid4(), 2), "instance", Program(command=command, **fields), {"speed": 0.5}, 99, "token")
    launch = runtime.start(run)
    assert launch is not None
    launch.go()
    return run.name


def start_python(runtime: LocalRuntime, source: str, **fields: object) -> Name:
    return start(runtime, sys.executable, "-c", source, **fields)


def folder(tmp_path: Path, name: Name) -> Path:
    return tmp_path / "attempts" / str(name)


def log(tmp_path: Path, name: Name) -> str:
    path = folder(tmp_path, name) / ".simyard" / "log"
    return path.read_text() if path.exists() else ""


def test_a_program_gets_what_the_contract_names_and_nothing_else(
        runtime: LocalRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "never to be seen")
    name = start_python(runtime, "import json, os; print(json.dumps(dict(os.environ) | {'cwd': os.getcwd()}))",
                        env={"MAP": "lab"})
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    seen = json.loads(log(tmp_path, name))
    seen.pop("LC_CTYPE", None)  # Python's own doing
    place = folder(tmp_path, name)
    assert json.loads((place / "parameters.json").read_text()) == {"speed": 0.5}
    assert 1 <= int(seen.pop("ROS_DOMAIN_ID")) <= 101
    assert seen == {
        "PATH": "/usr/bin:/bin", "HOME": "/home/x", "MAP": "lab", "cwd": str(place), "PWD": str(place),
        "SIMYARD_JOB_ID": str(name.job), "SIMYARD_ATTEMPT": "2", "SIMYARD_SEED": "99",
        "SIMYARD_PARAMETERS": str(place / "parameters.json"), "SIMYARD_OUTPUT": str(place / "output"),
        "SIMYARD_INPUTS": str(place / "inputs"), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def test_a_program_inherits_no_descriptor_of_ours(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start_python(runtime, "import os; print([f for f in map(int, os.listdir('/proc/self/fd')) if f > 3])")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert log(tmp_path, name) == "[]\n"


def test_sigint_reaches_a_python_program_as_keyboard_interrupt(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start_python(runtime, WAIT + "try: time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(7)")
    until(lambda: "up" in log(tmp_path, name))
    runtime.stop(name, signal.SIGINT)
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).exit_code == 7


def test_a_program_is_not_deaf_to_what_its_launcher_ignores(runtime: LocalRuntime, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Celery's children do
    try:
        name = start_python(runtime, WAIT + "time.sleep(60)")
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    until(lambda: "up" in log(tmp_path, name))
    runtime.stop(name, signal.SIGINT)
    until(lambda: runtime.observe(name).seen == Seen.ENDED)


def test_two_programs_never_share_a_ros_domain(runtime: LocalRuntime, tmp_path: Path) -> None:
    names = [start(runtime, "/bin/sh", "-c", "echo $ROS_DOMAIN_ID; sleep 60") for _ in range(5)]
    until(lambda: all(log(tmp_path, name).endswith("\n") for name in names))
    assert len({log(tmp_path, name) for name in names}) == 5


def test_a_freed_ros_domain_is_used_again(
        runtime: LocalRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ROS_DOMAINS", range(1, 2))
    first = start(runtime, "/bin/sleep", "60")
    with pytest.raises(Unavailable, match="domains are in use"):
        start(runtime, "/bin/true")
    runtime.kill(first)
    until(lambda: runtime.observe(start(runtime, "/bin/true")).seen != Seen.ABSENT)


def test_a_command_that_does_not_exist_ends_with_127_and_says_so(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start(runtime, "/no/such/program")
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).exit_code == 127
    assert "/no/such/program" in log(tmp_path, name)


def test_a_program_without_our_marks_is_stopped_and_killed_all_the_same(
        runtime: LocalRuntime, tmp_path: Path) -> None:
    for end in (lambda name: runtime.stop(name, signal.SIGTERM), runtime.kill):
        name = start(runtime, "/usr/bin/env", "-i", "/bin/sh", "-c", "echo $$; exec sleep 63")
        pid = until(lambda name=name: log(tmp_path, name).strip())
        until(lambda pid=pid: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes())
        end(name)
        until(lambda name=name: runtime.observe(name).seen != Seen.RUNNING)
        until(lambda pid=pid: not processes.in_session(int(pid)))


def test_a_folder_that_the_program_closed_is_recorded_and_removed(
        runtime: LocalRuntime, tmp_path: Path, web: FakeWeb) -> None:
    name = start(runtime, "/bin/sh", "-c", "mkdir output/a; echo kept >output/a/b; chmod 0 output/a")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert web.objects["output/a/b"] == b"kept\n"
    runtime.remove(name)
    assert not folder(tmp_path, name).exists()


def test_folders_past_all_depth_are_told_of_and_removed(
        runtime: LocalRuntime, tmp_path: Path, web: FakeWeb) -> None:
    name = start_python(runtime, "import os\nos.chdir('output')\nopen('notes', 'w').close()\n"
                                 "for _ in range(2000): os.mkdir('deeper'); os.chdir('deeper')")
    try:
        until(lambda: runtime.observe(name).recorder == Recorder.DONE)
        assert web.facts is not None
        assert ([file["path"] for file in web.facts["files"]], len(web.facts["problems"])) == (["notes"], 1)
        runtime.remove(name)
        assert not folder(tmp_path, name).exists()
    finally:  # pytest cannot remove it either
        subprocess.run(["rm", "-rf", folder(tmp_path, name)], check=True)


def test_unreadable_files_of_the_end_are_a_runtime_error(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start(runtime, "/bin/true")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    (folder(tmp_path, name) / ".simyard" / "limit").write_text('{"reason": "oom_killed"}}')
    assert runtime.observe(name).reason == "runtime_error"


def test_killed_with_its_shim_is_absent(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start(runtime, "/bin/sleep", "60")
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    runtime.kill(name)
    assert runtime.observe(name).seen == Seen.ABSENT
    assert (folder(tmp_path, name) / "output").is_dir()


def test_a_program_outlives_the_shims_first_process(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start(runtime, "/bin/sh", "-c", "sleep 0.3; exit 5")
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    control = os.fsencode(folder(tmp_path, name) / ".simyard")
    shim = min(processes.carrying(control, frozenset({b"never"})))
    os.kill(shim, signal.SIGKILL)
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).exit_code == 5


def test_what_leaves_the_session_is_found_and_killed(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start_python(runtime, "import subprocess; p = subprocess.Popen(['sleep', '61'], start_new_session=True)\n"
                                 "print(p.pid, flush=True)")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    escaped = int(log(tmp_path, name))
    assert processes.carries(escaped, frozenset({b"SIMYARD_JOB_ID=" + str(name.job).encode()}))
    runtime.remove(name)
    assert not processes.carries(escaped, frozenset({b"SIMYARD_JOB_ID=" + str(name.job).encode()}))


def test_what_stays_in_the_session_dies_with_the_program(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = start(runtime, "/bin/sh", "-c", "sleep 62 & echo $!")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    command_line = Path(f"/proc/{log(tmp_path, name).strip()}/cmdline")
    assert not (command_line.exists() and command_line.read_bytes())  # gone, or a zombie for init to reap


def test_the_launchers_death_before_go_starts_nothing(runtime: LocalRuntime, tmp_path: Path) -> None:
    name = Name(uuid4(), 1)
    source = (
        "import os, pathlib, signal, uuid\n"
        "from workers.runtimes.local import LocalRuntime\nfrom workers.runtimes.base import Name, Run\n"
        "from shared.domain.specs import Program\n"
        f"runtime = LocalRuntime(pathlib.Path({str(tmp_path)!r}), {{'url': 'http://127.0.0.1:9'}}, {{}})\n"
        f"name = Name(uuid.UUID({str(name.job)!r}), 1)\n"
        "runtime.start(Run(name, 'instance', Program(command=('/bin/true',)), {}, 1, 't'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n")
    subprocess.run([sys.executable, "-c", source], check=False, timeout=60)
    until(lambda: runtime.observe(name).never_started)
    assert not (folder(tmp_path, name) / ".simyard" / "main.pid").exists()


def test_hints_left_while_nobody_listened_are_found(runtime: LocalRuntime, tmp_path: Path, web: FakeWeb) -> None:
    name = start(runtime, "/bin/true")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert name in LocalRuntime(tmp_path, {"url": web.url}, {}).hints(0)


def test_more_memory_than_allowed_ends_it_with_the_reason(runtime: LocalRuntime) -> None:
    name = start_python(runtime, "block = b'x' * (150 << 20); import time; time.sleep(60)",
                        resources=Resources(memory_mb=80))
    seen = until(lambda: (seen := runtime.observe(name)).seen == Seen.ENDED and seen)
    assert seen.reason == "oom_killed"
    assert seen.message is not None
    assert "more than 80 MiB" in seen.message


def test_more_disk_than_allowed_ends_it_with_the_reason(runtime: LocalRuntime) -> None:
    name = start(runtime, "/bin/sh", "-c", "head -c 30000000 /dev/zero >output/big; sleep 60",
                 resources=Resources(disk_mb=10))
    seen = until(lambda: (seen := runtime.observe(name)).seen == Seen.ENDED and seen)
    assert seen.reason == "disk_full"


def test_salvage_tells_what_a_dead_recorder_left(runtime: LocalRuntime, tmp_path: Path, web: FakeWeb) -> None:
    program = Program(command=("/bin/sh", "-c", "echo last words; sleep 60"))
    run = Run(Name(uuid4(), 1), "instance", program, {}, 1, "token")
    launch = runtime.start(run)
    assert launch is not None
    launch.go()
    until(lambda: log(tmp_path, run.name) == "last words\n")
    runtime.kill(run.name)
    assert runtime.salvage(run)
    assert web.heard.wait(60)
    assert web.facts is not None
    assert web.facts["log"]["tail"] == "last words\n"


def test_a_folder_that_cannot_be_made_is_unavailable_and_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable) as refused:
        LocalRuntime(tmp_path / "file", {"url": "http://127.0.0.1:9"}, {})
    assert "STORAGE_BASE_DIR" in (refused.value.remedy or "")


def test_a_player_is_told_where_to_listen_and_its_grant(tmp_path: Path, web: FakeWeb) -> None:
    runtime = LocalRuntime(tmp_path, {"url": web.url}, {"PATH": "/usr/bin:/bin"}, "robot-worker")
    command = ("/bin/sh", "-c", 'echo "$#" "$@" >"$SIMYARD_OUTPUT/told"', "sh")
    names = []
    for kind in ("playback", "ingest"):
        run = Run(Name(uuid4(), 1), kind, Program(command=command), {}, 0, "token")
        launch = runtime.start(run)
        assert launch is not None
        launch.go()
        names.append(run.name)
    told = [folder(tmp_path, name) / "output/told" for name in names]
    until(lambda: all(each.exists() and each.read_text() for each in told))
    assert told[0].read_text() == f"2 {folder(tmp_path, names[0])}/.simyard/grant.json robot-worker\n"
    assert told[1].read_text() == "0\n"
    clear(runtime)
