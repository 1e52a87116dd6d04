"""The caged child, and a parent that no child can harm."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.waiting import until
from tests.workers.bags.conftest import Reader
from tests.workers.bags.making import codes, messages, write_db3, write_mcap, write_metadata
from workers.bags import cage
from workers.bags.cage import ExaminationFailed, examine

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    write_db3(tmp_path / "bag" / "x.db3", messages(10))
    write_metadata(tmp_path / "bag", ["x.db3"], messages(10))
    return tmp_path / "bag"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def child_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """Puts `program` in the child's place."""
    package = tmp_path / "impostor" / "workers" / "bags"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "__main__.py").write_text(program)
    monkeypatch.setattr(cage, "ROOT", tmp_path / "impostor")


def test_the_child_tells_what_reading_here_tells(bag: Path, read: Reader) -> None:
    assert examine(bag, 30) == read(bag)


def test_the_child_prints_one_json_document_and_exits_zero_whatever_the_state(bag: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mcap").write_text("text")
    for path in (bag, tmp_path / "text.mcap", tmp_path / "bag" / "metadata.yaml"):
        done = subprocess.run(
            [sys.executable, "-m", "workers.bags", str(path)], cwd=ROOT, capture_output=True, check=True, text=True
        )
        assert done.stdout.count("\n") == 1
        assert done.stderr == ""


def test_private_copies_are_gone_afterwards(tmp_path: Path, scratch: Path) -> None:
    plain = write_db3(tmp_path / "x.db3", messages(10)).read_bytes()
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "x.db3.zstd").write_bytes(zstandard.ZstdCompressor().compress(plain))
    assert examine(tmp_path / "bag", 30, scratch=scratch)["messages"] == 10
    assert list(scratch.iterdir()) == []


def test_without_time_a_recording_is_refused(bag: Path) -> None:
    found = examine(bag, 0)
    assert (found["state"], found["reason"], codes(found)[-1]) == ("REJECTED", "hostile", "hostile")
    assert [file["name"] for file in found["files"]] == ["metadata.yaml", "x.db3"]


def test_the_child_gets_nothing_of_our_environment_and_descriptors(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "precious")
    program = "import os, sys; print(sorted(os.environ), sorted(os.listdir('/proc/self/fd')), os.getcwd()"
    child_of(monkeypatch, tmp_path, program + ", file=sys.stderr); sys.exit(3)")
    inherited = os.open(bag / "x.db3", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        with pytest.raises(ExaminationFailed) as failed:
            examine(bag, 30)
    finally:
        os.close(inherited)
    # 3 is the listing's own.
    assert "['LANG', 'PATH', 'PYTHONPATH', 'TMPDIR'] ['0', '1', '2', '3'] /" in str(failed.value).replace(
        "'LC_CTYPE', ", ""
    )


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ("import time; time.sleep(60)", "longer"),
        ("import os, time; os.close(1); time.sleep(60)", "longer"),
        ("import os, time; os.fork() or time.sleep(60); time.sleep(60)", "longer"),
        ("while True: print('x' * 1_000_000)", "endless"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
        ("import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass", "SIGXCPU"),
    ],
)
def test_a_child_that_hangs_floods_or_dies_makes_the_recording_hostile(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, word: str
) -> None:
    monkeypatch.setattr(cage, "GRACE_SECONDS", 0.0)
    child_of(monkeypatch, tmp_path, f"import tempfile; tempfile.mkdtemp()\n{program}")
    (tmp_path / "scratch").mkdir()
    found = examine(bag, 0.3 if word == "longer" else 30, scratch=tmp_path / "scratch")
    assert (found["state"], found["reason"]) == ("REJECTED", "hostile")
    assert word in found["problems"][0]["message"]
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(1)",
        "1 / 0",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "",
        "print('no JSON')",
        "print('{}')",
        "print('[]')",
        "print('[' * 100_000)",
    ],
)
def test_a_child_that_fails_or_talks_nonsense_is_our_failure(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    child_of(monkeypatch, tmp_path, program)
    with pytest.raises(ExaminationFailed):
        examine(bag, 30)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "FINE"},
        {"messages": "10"},
        {"messages": 2**63},
        {"start_ns": -(2**63) - 1},
        {"extra": 1},
        {"topics": [{"name": "/t"}]},
        {"problems": None},
    ],
)
def test_an_answer_of_another_shape_is_our_failure(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    answer = examine(bag, 30) | change
    child_of(monkeypatch, tmp_path, f"import json; print(json.dumps({answer!r}))")
    with pytest.raises(ExaminationFailed):
        examine(bag, 30)


def test_a_recording_that_is_not_there_is_our_failure(tmp_path: Path) -> None:
    with pytest.raises(ExaminationFailed, match="No such file"):
        examine(tmp_path / "gone.mcap", 30)


def test_no_room_for_copies_is_our_failure(bag: Path) -> None:
    with pytest.raises(ExaminationFailed):
        examine(bag, 30, scratch=Path("/proc"))


def test_the_cage_takes_memory_files_and_core_dumps_away() -> None:
    program = """
import resource
from workers.bags.__main__ import confine
confine(5)
try:
    bytearray(2 << 30)
except MemoryError:
    print("no memory")
try:
    [open("/dev/null") for _ in range(100)]
except OSError as error:
    print(error.strerror)
print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_CPU))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout == "no memory\nToo many open files\n(0, 0) (6, 7)\n"


def test_the_child_loads_no_library_it_does_not_need(tmp_path: Path) -> None:
    write_mcap(tmp_path / "x.mcap", messages(10))
    program = f"""
import sys
from pathlib import Path
from workers.bags.__main__ import examine_here
examine_here(Path({str(tmp_path)!r}), 30)
print([name for name in ("rosbags", "numpy", "pydantic", "mcap", "subprocess") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


def test_examinations_run_side_by_side(bag: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: examine(bag, 60)["messages"], range(8)))
    assert found == [10] * 8


def test_the_parent_keeps_its_own_limits_and_children(bag: Path) -> None:
    import resource

    before, children = resource.getrlimit(resource.RLIMIT_AS), own_children()
    examine(bag, 30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert own_children() == children


def own_children() -> set[str]:
    return {pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


def test_the_child_ends_with_whoever_asked(tmp_path: Path, bag: Path) -> None:
    os.mkfifo(tmp_path / "held")
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from workers.bags import cage
cage.sys.executable = {str(tmp_path / "child")!r}
cage.examine(Path({str(bag)!r}), 60)
"""
    child = tmp_path / "child"
    child.write_text(f"#!{sys.executable}\nimport os, sys, time\nsys.path.insert(0, {str(ROOT)!r})\n"
                     "from workers.bags.__main__ import end_with\nend_with(int(sys.argv[-1]))\n"
                     f"open({str(tmp_path / 'held')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
    child.chmod(0o755)
    asking = subprocess.Popen([sys.executable, "-c", program])
    pid = int((tmp_path / "held").read_text())
    asking.kill()
    asking.wait()
    until(lambda: not Path(f"/proc/{pid}").exists())
