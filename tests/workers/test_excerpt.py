"""The caged child that makes one excerpt: whole with exit code 0, or else never."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader

from tests.tars import unpack
from tests.workers.bags.making import START, kill_writer, messages, write_db3, write_mcap
from tests.workers.bags.reading import extracted
from tests.workers.serving import Storage, served
from workers.bags.cage import examine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """Holds the recording `bag` and its index."""
    write_mcap(tmp_path / "bag" / "x.mcap", messages(2_000), size=200)
    examine(tmp_path / "bag", 60, index=tmp_path / "index")
    with served(tmp_path) as storage:
        yield storage


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "workers.excerpt", *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ask(request: object) -> tuple[int, bytes, dict[str, Any]]:
    """Exit code, answer, and what was said of a failure."""
    with start() as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        answer, said = child.stdout.read(), child.stderr.read().splitlines()
        status = child.wait()
    return status, answer, json.loads(said[-1]) if said else {}


def test_messages_are_lines_in_order(storage: Storage, scratch: Path) -> None:
    window = {"start_ns": START + 10**9, "end_ns": START + 2 * 10**9}
    status, answer, _ = ask(storage.request("index", "bag", scratch=str(scratch), **window))
    lines = [json.loads(line) for line in answer.splitlines()]
    assert status == 0
    assert [(line["topic"], line["t_ns"]) for line in lines] == messages(2_000)[1_000:2_000]
    assert storage.sent < 400_000
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("form", ["mcap", "db3"])
def test_slices_are_whole(storage: Storage, scratch: Path, form: str, tmp_path: Path) -> None:
    request = storage.request("index", "bag", scratch=str(scratch), name="a/../b", topics=["/t1"], **{"as": form})
    status, answer, _ = ask(request)
    assert status == 0
    expected = [read for read in extracted(tmp_path / "bag") if read[0] == "/t1"]
    if form == "mcap":
        found = [(channel.topic, message.log_time, message.data)
                 for _, channel, message in make_reader(io.BytesIO(answer)).iter_messages()]
    else:
        with tarfile.open(fileobj=io.BytesIO(answer)) as tar:
            unpack(tar, tmp_path / "out")
        found = extracted(tmp_path / "out" / "a_.._b_slice")
    assert found == expected
    assert list(scratch.iterdir()) == []


def test_files_that_must_be_whole_are_fetched_whole(tmp_path: Path, scratch: Path) -> None:
    kill_writer(tmp_path / "bag" / "x.db3", committed=50, uncommitted=0, journal="WAL")
    examine(tmp_path / "bag", 60, index=tmp_path / "index")
    with served(tmp_path) as storage:
        status, answer, _ = ask(storage.request("index", "bag", scratch=str(scratch)))
    assert (status, answer.count(b"\n")) == (0, 50)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"start_ns": "5"}, {"start_ns": 2**63}, {"end_ns": 1.5}, {"topics": "/t0"}, {"topics": [1]}, {"as": "bag"},
        {"latched": None}, {"files": {"x.mcap": {"url": "http://x/"}}}, {"files": []}, {"more": 1}, {"scratch": None},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(storage: Storage, scratch: Path, change: dict[str, Any]) -> None:
    status, answer, said = ask(storage.request("index", "bag") | {"scratch": str(scratch)} | change)
    assert (status, answer, said["code"]) == (1, b"", "bad_request")
    assert "secret" not in said["message"]


def test_nothing_is_made_of_no_request() -> None:
    with start() as child:
        answer, said = child.communicate(b"", timeout=60)
    assert (child.returncode, answer, said) == (0, b"", b"")


@pytest.mark.parametrize("content", [b"", b"text", b"\x28\xb5\x2f\xfd" + bytes(100)])
def test_an_index_that_is_none_is_a_failure(storage: Storage, scratch: Path, content: bytes) -> None:
    (storage.folder / "index").write_bytes(content)
    status, answer, said = ask(storage.request("index", "bag", scratch=str(scratch)))
    assert (status, answer, said["code"]) == (1, b"", "bad_index")


@pytest.mark.parametrize("form", ["messages", "mcap", "db3"])
def test_a_file_that_is_gone_fails_before_anything_is_written(storage: Storage, scratch: Path, form: str) -> None:
    request = storage.request("index", "bag", scratch=str(scratch), **{"as": form})
    (storage.folder / "bag" / "x.mcap").unlink()
    status, answer, said = ask(request)
    assert (status, answer, said["code"]) == (1, b"", "source_failed")
    assert "secret" not in said["message"]


@pytest.mark.parametrize("form", ["messages", "mcap", "db3"])
def test_a_failure_on_the_way_never_ends_well(storage: Storage, scratch: Path, form: str) -> None:
    path = storage.folder / "bag" / "x.mcap"
    request = storage.request("index", "bag", scratch=str(scratch), **{"as": form})
    with path.open("r+b") as file:
        file.seek(300_000)
        file.write(bytes(100_000))
    status, answer, said = ask(request)
    assert (status, said["code"]) == (1, "unreadable")
    if form == "messages":
        assert 0 < answer.count(b"\n") < 2_000


def test_messages_of_ros1_make_no_folder_of_ros2(tmp_path: Path, scratch: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    (tmp_path / "bag").mkdir()
    with Writer(tmp_path / "bag" / "x.bag") as writer:
        topic = writer.add_connection("/t", "std_msgs/msg/String", typestore=get_typestore(Stores.ROS1_NOETIC))
        writer.write(topic, 5, b"\x02\0\0\0hi")
    examine(tmp_path / "bag" / "x.bag", 60, index=tmp_path / "index")
    with served(tmp_path) as storage:
        status, answer, said = ask(storage.request("index", "bag", scratch=str(scratch), **{"as": "db3"}))
        assert (status, answer, said["code"]) == (1, b"", "cannot_slice")
        status, answer, _ = ask(storage.request("index", "bag", scratch=str(scratch)))
        assert json.loads(answer)["data"] == {"data": "hi"}


def test_it_ends_with_its_stdin_and_leaves_nothing(tmp_path: Path, scratch: Path) -> None:
    write_db3(tmp_path / "bag" / "x.db3", messages(30_000), size=200)
    examine(tmp_path / "bag", 60, index=tmp_path / "index")
    with served(tmp_path) as storage, start() as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(storage.request("index", "bag", scratch=str(scratch))).encode() + b"\n")
        child.stdin.flush()
        assert child.stdout.read(10)
        child.stdin.close()
        # Whatever it waits for: nobody reads what it writes.
        assert child.wait(20) == 1
    assert list(scratch.iterdir()) == []


def test_it_is_confined(scratch: Path) -> None:
    program = """
import resource, signal
from workers.bags.__main__ import confine
from workers import excerpt
excerpt.confine(excerpt.CPU_SECONDS)
print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout == f"{1 << 30} 64\n"
