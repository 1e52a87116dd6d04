"""What is taken of whatever a program left: each thing is told with its bytes or named as a problem, and none keeps
another from being told."""

import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import FakeWeb
from tests.workers.test_recorder import record
from webapp import strict_json
from workers import folders, harvest
from workers.facts import Facts
from workers.folders import open_plain
from workers.uplink import FEWEST_TRIES, MOST_REFUSALS, Changed, Over, Refused, Uplink
from workers.words import Log


class FakeUplink:
    """Takes files, but for those with a fault."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, Exception] = {}

    def upload(self, path: str, file: Path) -> tuple[int, str]:
        if path in self.faults:
            raise self.faults[path]
        with open_plain(file) as source:
            self.objects[path] = source.read()
        return len(self.objects[path]), hashlib.sha256(self.objects[path]).hexdigest()


@pytest.fixture
def uplink() -> FakeUplink:
    return FakeUplink()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    output = tmp_path / "attempt" / "output"
    output.mkdir(parents=True)
    (tmp_path / "attempt" / ".simyard").mkdir()
    return output


def collect(output: Path, uplink: Any) -> Facts:
    """The facts as web reads them and collecting checks them."""
    control = output.parent / ".simyard"
    guard: Any = SimpleNamespace(peak_bytes=5, scratch=output.parent)
    facts = harvest.collect(control, uplink, guard, Log(control / "log"))
    return Facts.model_validate(strict_json.parse(json.dumps(facts).encode()))


def paths(facts: Facts) -> list[str]:
    return [file.path for file in facts.files]


FAULTS = [Refused("web answers 422"), PermissionError(errno.EACCES, "Permission denied"), Changed("it became shorter"),
          FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.EIO, "Input/output error"), KeyError("unforeseen"),
          MemoryError(), RecursionError()]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_file_that_cannot_be_uploaded_is_a_problem_and_the_rest_is_told(
        output: Path, uplink: FakeUplink, fault: Exception) -> None:
    for name in "abc":
        (output / name).write_text(name)
    uplink.faults["output/b"] = fault
    facts = collect(output, uplink)
    assert paths(facts) == ["a", "c"]
    (problem,) = facts.problems
    assert problem.startswith("'b' was not kept")


@pytest.mark.parametrize("fault", FAULTS[::3], ids=repr)
def test_a_recording_of_which_a_file_cannot_be_uploaded_is_kept_as_files_and_the_others_are_bundles(
        output: Path, uplink: FakeUplink, fault: Exception) -> None:
    record(output / "bad")
    record(output / "good")
    uplink.faults["output/bad/metadata.yaml"] = fault
    facts = collect(output, uplink)
    assert [recording.path for recording in facts.recordings] == ["good"]
    assert paths(facts) == ["bad/bad.db3"]
    assert [problem.partition(":")[0] for problem in facts.problems] == [
        "'bad' did not become a bundle", "'bad/metadata.yaml' was not kept"]


def test_a_file_that_object_storage_refuses_for_ever_is_a_problem_of_that_file_alone(
        output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first costs all patience; those after it a few tries each."""
    pauses: list[float] = []
    monkeypatch.setattr("workers.uplink.time", SimpleNamespace(sleep=pauses.append))
    for name in "abcd":
        (output / name).write_text(name)
    record(output / "bag")
    with FakeWeb() as web:
        web.faults = {"/s3/output/a?partNumber=1": [403] * 999, "/s3/output/c?partNumber=1": [400, 413] * 500,
                      "/s3/output/d?partNumber=1": [404] * 999}
        uplink = Uplink({"job": "j", "attempt": 1, "token": "t", "address": {"url": web.url}})
        facts = collect(output, uplink)
    assert (paths(facts), [each.path for each in facts.recordings]) == (["b"], ["bag"])
    assert [problem.partition("b''")[0] for problem in facts.problems] == [
        f"'a' was not kept: tried {MOST_REFUSALS + 1} times: object storage answers 403: ",
        f"'c' was not kept: tried {FEWEST_TRIES} times: object storage answers 400: ",
        f"'d' was not kept: tried {FEWEST_TRIES} times: object storage answers 404: "]
    assert sum(pauses) == pytest.approx(120, abs=15)


def test_what_object_storage_refuses_for_a_while_is_kept(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while its keys are changed; what it cannot do at all, for as long as that lasts."""
    monkeypatch.setattr("workers.uplink.time", SimpleNamespace(sleep=lambda _: None))
    for name in "ab":
        (output / name).write_text(name)
    with FakeWeb() as web:
        web.faults = {"/s3/output/a?partNumber=1": [403] * (MOST_REFUSALS - 1),
                      "/s3/output/b?partNumber=1": [503, 429] * MOST_REFUSALS + [403, 500, 403]}
        facts = collect(output, Uplink({"job": "j", "attempt": 1, "token": "t", "address": {"url": web.url}}))
    assert (paths(facts), facts.problems) == (["a", "b"], ())


def test_what_is_over_is_over(output: Path, uplink: FakeUplink) -> None:
    (output / "a").touch()
    uplink.faults["output/a"] = Over("another has begun")
    with pytest.raises(Over):
        collect(output, uplink)


def test_without_room_for_examining_a_recording_its_files_are_kept_however_large(
        output: Path, uplink: FakeUplink, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    record(output / "run")
    (output / "notes").write_text("kept")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    monkeypatch.setattr(harvest, "LARGEST_FILE", 100)
    facts = collect(output, uplink)
    assert (facts.recordings, paths(facts)) == ((), ["run/metadata.yaml", "run/run.db3", "notes"])
    assert "No space left" in facts.problems[0]


def test_a_log_that_cannot_be_uploaded_is_told_by_its_end(output: Path, uplink: FakeUplink) -> None:
    (output.parent / ".simyard" / "log").write_text("x" * 70_000)
    uplink.faults["log.txt"] = Refused("no")
    facts = collect(output, uplink)
    assert (facts.log.size, len(facts.log.tail), facts.log.uploaded) == (70_000, 65_536, False)
    assert facts.problems == ("its whole log was not kept: no",)


def bind(place: Path) -> None:
    """A socket; by a short name, for theirs may have no more than 108 bytes."""
    here = Path.cwd()
    os.chdir(place.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
    finally:
        os.chdir(here)


def sparse(place: Path) -> None:
    with place.open("wb") as file:
        file.write(b"head")
        file.seek(1 << 30)
        file.write(b"middle")
        file.truncate(1 << 40)


def deep(place: Path) -> None:
    """A folder 2,000 deep, past what a path may be long, with a file at its bottom."""
    here = os.open(".", os.O_RDONLY)
    try:
        place.mkdir()
        os.chdir(place)
        for _ in range(2000):
            Path("deeper").mkdir()
            os.chdir("deeper")
        Path("bottom").touch()
    finally:
        os.fchdir(here)
        os.close(here)


ODD: list[tuple[str, Callable[[Path], object], int]] = [
    ("pipe.mcap", os.mkfifo, 0), ("result.json", os.mkfifo, 0), ("progress.jsonl", os.mkdir, 0),
    ("socket.db3", bind, 0), ("loop", lambda place: place.symlink_to(place.parent), 0),
    ("loops", lambda place: place.symlink_to(place), 0), ("zero.bag", lambda place: place.symlink_to("/dev/zero"), 0),
    ("huge.bin", sparse, 1), ("huge.mcap", sparse, 2), ("huge.db3", sparse, 2), ("deep", deep, 1),
    ("line\nbreak", Path.touch, 1), (os.fsdecode(b"\xff"), Path.touch, 1), (os.fsdecode(b"\xff.mcap"), Path.touch, 1),
    ("back\\slash", Path.touch, 1), ("line\nbreak.d", record, 3),
    (os.fsdecode(b"\xff.d"), record, 3), ("x" * 255, Path.touch, 0),
    ("x" * 250 + ".mcap", Path.touch, 0)]


@pytest.mark.parametrize(("name", "make", "problems"), ODD, ids=[repr(name)[:20] for name, _, _ in ODD])
def test_whatever_lies_there_the_rest_is_told(
        output: Path, uplink: FakeUplink, name: str, make: Callable[[Path], object], problems: int) -> None:
    (output / "notes").write_text("kept")
    record(output / "run")
    try:
        make(output / name)
        facts = collect(output, uplink)
    finally:
        os.system(f"rm -rf '{output / 'deep'}'")  # which Python's own rmtree is not deep enough for
    assert "run" in [recording.path for recording in facts.recordings]
    assert "notes" in paths(facts)
    assert len(facts.problems) == problems, facts.problems


def test_an_output_folder_that_is_a_link_or_a_file_is_not_kept(output: Path, uplink: FakeUplink) -> None:
    output.rmdir()
    output.symlink_to("/etc")
    facts = collect(output, uplink)
    output.unlink()
    output.touch()
    again = collect(output, uplink)
    assert uplink.objects == {}
    assert [len(each.problems) for each in (facts, again)] == [1, 1]


def test_a_path_as_long_as_a_key_can_be_is_kept_and_one_byte_more_is_not(output: Path, uplink: FakeUplink) -> None:
    place = output / "/".join("d" * 99 for _ in range(8))
    place.mkdir(parents=True)
    (place / ("x" * 100)).touch()
    (place / ("y" * 101)).touch()
    facts = collect(output, uplink)
    assert [len(path) for path in paths(facts)] == [900]
    assert len(facts.problems) == 1


def test_of_too_many_files_some_are_told_and_a_recording_beside_them_is_whole(
        output: Path, uplink: FakeUplink, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = output / "frames"
    frames.mkdir()
    for number in range(1500):
        (frames / f"{number}.png").touch()
    record(output / "run")
    facts = collect(output, uplink)
    assert [recording.path for recording in facts.recordings] == ["run"]
    assert len(facts.files) == 1000
    monkeypatch.setattr(folders, "MOST_ENTRIES", 700)
    assert len(collect(output, uplink).files) == 698
    assert "more than 700 files" in collect(output, uplink).problems[0]


def test_a_folder_that_cannot_be_read_is_a_problem_and_what_lies_beside_it_is_told(
        output: Path, uplink: FakeUplink, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def closed(place: Any = ".") -> Any:
        if str(place).endswith("theirs"):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    record(output / "theirs")
    record(output / "ours")
    monkeypatch.setattr(os, "scandir", closed)
    facts = collect(output, uplink)
    assert [recording.path for recording in facts.recordings] == ["ours"]
    assert all("Permission denied" in problem for problem in facts.problems)
    assert len(facts.problems) == 2


def test_what_would_be_too_much_to_tell_is_kept_as_files_or_named(
        output: Path, uplink: FakeUplink, monkeypatch: pytest.MonkeyPatch) -> None:
    record(output / "a")
    record(output / "b")
    (facts,) = collect(output, uplink).model_dump(mode="json")["recordings"][:1]
    one = len(json.dumps(facts))
    monkeypatch.setattr(harvest, "RECORDINGS_TOLD", one * 3 // 2)
    monkeypatch.setattr(harvest, "FILES_TOLD", one * 3 // 2)
    told = collect(output, uplink)
    assert ([recording.path for recording in told.recordings], paths(told)) == (
        ["a"], ["b/b.db3", "b/metadata.yaml"])
    monkeypatch.setattr(harvest, "FILES_TOLD", one)
    assert [problem.rpartition(": ")[2] for problem in collect(output, uplink).problems] == [
        "there is more than can be told"] * 3


def test_problems_past_a_hundred_are_counted(output: Path, uplink: FakeUplink) -> None:
    for number in range(150):
        (output / f"{number}\n").touch()
    problems = collect(output, uplink).problems
    assert (len(problems), problems[-1]) == (100, "and 51 more problems")


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")).map(os.fsdecode)
CONTENTS = st.one_of(st.binary(max_size=30), st.sampled_from(["pipe", "link", "folder"]))
TREES = st.dictionaries(st.tuples(NAMES, st.sampled_from(["", ".db3", ".mcap", ".bag", ".txt"])).map("".join),
                        st.one_of(CONTENTS, st.dictionaries(NAMES, CONTENTS, max_size=3)), max_size=5)


def plant(place: Path, tree: dict[str, Any]) -> list[str]:
    """Make the tree; the paths of its plain files."""
    plain = []
    for name, content in tree.items():
        if isinstance(content, bytes):
            (place / name).write_bytes(content)
            plain.append(name)
        elif content == "pipe":
            os.mkfifo(place / name)
        elif content == "link":
            (place / name).symlink_to("/etc/passwd")
        else:
            (place / name).mkdir()
            plain += [f"{name}/{path}" for path in plant(place / name, {} if content == "folder" else content)]
    return plain


@given(TREES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_plain_file_is_told_once_with_its_bytes_or_is_a_problem(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: dict[str, Any]) -> None:
    """The law of the place. The examination, which has its own laws, finds no recording in any of it."""
    monkeypatch.setattr("workers.examination.examined", lambda *_: {}["none"])
    output = tmp_path / "attempt" / "output"
    shutil.rmtree(output.parent, ignore_errors=True)
    output.mkdir(parents=True)
    (output.parent / ".simyard").mkdir()
    plain, uplink = plant(output, tree), FakeUplink()
    facts = collect(output, uplink)
    assert len(paths(facts)) == len(set(paths(facts)))
    assert {f"output/{path}" for path in paths(facts)} == uplink.objects.keys()
    for path in plain:
        if path in paths(facts):
            assert uplink.objects[f"output/{path}"] == (output / path).read_bytes()
        elif path not in ("progress.jsonl", "result.json"):
            assert any(problem.startswith(f"{path!r} was not kept") for problem in facts.problems)
    assert set(paths(facts)) <= set(plain)
