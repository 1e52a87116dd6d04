"""The recorder as a process of its own, with a simulator's output before it and a fake web to tell."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from tests.fakes import FakeWeb
from tests.waiting import until
from workers.facts import Facts
from workers.recorder import LAST_TRIES, Sidecar

STORE = get_typestore(Stores.ROS2_JAZZY)
STRING = "std_msgs/msg/String"


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    with FakeWeb() as web:
        yield web


@pytest.fixture
def control(tmp_path: Path, web: FakeWeb) -> Path:
    control = tmp_path / "attempt" / ".simyard"
    control.mkdir(parents=True)
    (tmp_path / "attempt" / "output").mkdir()
    grant(control, {"url": web.url})
    return control


def grant(control: Path, address: dict[str, str], **limits: object) -> None:
    (control / "grant.json").write_text(json.dumps({
        "job": "j", "attempt": 1, "token": "t", "address": address, "memory_mb": None, "disk_mb": None} | limits))


def record(folder: Path, count: int = 5, storage: StoragePlugin = StoragePlugin.SQLITE3) -> None:
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        connection = writer.add_connection("/chatter", STRING, typestore=STORE)
        for number in range(count):
            message = STORE.types[STRING](data=f"message {number}")
            writer.write(connection, number * 10**8, STORE.serialize_cdr(message, STRING))


def collect(control: Path, web: FakeWeb) -> Facts:
    """Run a recorder on an ended program; the facts that web heard, checked as collecting checks them."""
    subprocess.run([sys.executable, "-P", "-m", "workers.recorder", control], stdin=subprocess.DEVNULL, check=True,
                   timeout=100, cwd="/")
    assert (control / "recorded").exists()
    return Facts.model_validate(web.facts)


def test_a_program_that_recorded_nothing(control: Path, web: FakeWeb) -> None:
    facts = collect(control, web)
    assert (facts.recordings, facts.files, facts.log.size) == ((), (), 0)
    assert len(web.calls) == 1


def test_a_rosbag2_folder_becomes_a_recording_with_its_bytes_unchanged(control: Path, web: FakeWeb) -> None:
    record(control.parent / "output" / "run")
    (recording,) = collect(control, web).recordings
    assert (recording.name, recording.path, recording.state) == ("run", "run", "READY")
    assert (recording.storage, recording.messages, recording.start_ns, recording.end_ns) == ("sqlite3", 5, 0, 4 * 10**8)
    assert [(topic.name, topic.type, topic.count, topic.decodable) for topic in recording.topics] == [
        ("/chatter", STRING, 5, True)]
    assert {file.name for file in recording.files} == {"metadata.yaml", "run.db3"}
    for file in recording.files:
        original = (control.parent / "output" / "run" / file.name).read_bytes()
        assert web.objects[f"output/run/{file.name}"] == original
        assert (file.size, file.sha256) == (len(original), hashlib.sha256(original).hexdigest())


def test_a_lone_mcap_and_a_bag_in_the_output_folder_itself(control: Path, web: FakeWeb) -> None:
    output = control.parent / "output"
    record(control.parent / "made", storage=StoragePlugin.MCAP)
    (control.parent / "made" / "made.mcap").rename(output / "lone.mcap")
    facts = collect(control, web)
    assert [(found.path, found.storage, found.messages) for found in facts.recordings] == [("lone.mcap", "mcap", 5)]
    output.rename(control.parent / "old")
    record(output)
    (recording,) = collect(control, web).recordings
    assert (recording.name, recording.path, recording.messages) == ("output", ".", 5)


def test_a_file_of_several_parts_arrives_whole(control: Path, web: FakeWeb) -> None:
    web.part_size = 1000
    content = os.urandom(3500)
    (control.parent / "output" / "map.bin").write_bytes(content)
    (file,) = collect(control, web).files
    assert web.objects["output/map.bin"] == content
    assert (file.path, file.size, file.sha256) == ("map.bin", 3500, hashlib.sha256(content).hexdigest())


def test_an_empty_file_arrives(control: Path, web: FakeWeb) -> None:
    (control.parent / "output" / "empty").touch()
    assert [file.size for file in collect(control, web).files] == [0]
    assert web.objects["output/empty"] == b""


def test_links_are_not_followed(control: Path, web: FakeWeb) -> None:
    (control.parent / "output" / "passwd").symlink_to("/etc/passwd")
    (control.parent / "output" / "etc").symlink_to("/etc")
    assert collect(control, web).files == ()


def test_verdict_metrics_and_progress(control: Path, web: FakeWeb) -> None:
    output = control.parent / "output"
    output.joinpath("result.json").write_text('{"passed": true, "metrics": {"length": 3, "bad": NaN, "worse": "x"}}')
    output.joinpath("progress.jsonl").write_text('{"percent": 10}\n{"percent": 90, "sim_time": 2.5}\n{"percent": 9')
    facts = collect(control, web)
    assert (facts.result.passed, facts.result.metrics) == (True, {"length": 3.0})
    assert facts.progress == {"percent": 90, "sim_time": 2.5, "message": None}
    assert facts.problems == ("some metrics in result.json are not finite numbers",)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, "\xff", ""])
def test_a_result_that_is_none_is_a_problem_not_a_failure(control: Path, web: FakeWeb, text: str) -> None:
    (control.parent / "output" / "result.json").write_bytes(text.encode("latin-1"))
    facts = collect(control, web)
    assert facts.result.passed is None
    assert facts.problems == ("result.json is not a JSON object",)


def test_last_words_that_no_database_takes_are_cleaned_not_fatal(control: Path, web: FakeWeb) -> None:
    output = control.parent / "output"
    output.joinpath("result.json").write_text('{"passed": true, "metrics": {"a\\u0000": 1, "b": 1' + "0" * 400 + '}}')
    output.joinpath("progress.jsonl").write_text(
        '{"percent": 500, "sim_time": NaN, "message": "x\\u0000\\ud800"}\n')
    facts = collect(control, web)
    assert facts.progress == {"percent": None, "sim_time": None, "message": "x\ufffd?"}
    assert facts.result.metrics == {"a\ufffd": 1.0}


@pytest.mark.parametrize("name", ["progress.jsonl", "result.json"])
def test_a_pipe_or_an_endless_link_in_place_of_a_file_is_passed_over(
        control: Path, web: FakeWeb, name: str) -> None:
    os.mkfifo(control.parent / "output" / name)
    assert collect(control, web).progress is None
    (control.parent / "output" / name).unlink()
    (control.parent / "output" / name).symlink_to("/dev/zero")
    assert collect(control, web).progress is None


def test_a_long_log_is_uploaded_whole_and_its_tail_told(control: Path, web: FakeWeb) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    (control / "log").write_text(text)
    facts = collect(control, web)
    assert (facts.log.size, facts.log.uploaded) == (len(text), True)
    assert text.endswith(facts.log.tail)
    assert len(facts.log.tail) == 65_536
    assert web.objects["log.txt"].decode() == text


def test_a_log_of_any_bytes_is_told_as_text(control: Path, web: FakeWeb) -> None:
    (control / "log").write_bytes(b"before \xff\x00 after\n")
    assert collect(control, web).log.tail == "before \ufffd\ufffd after\n"


def test_a_part_that_did_not_arrive_is_sent_again_and_those_before_it_are_not(control: Path, web: FakeWeb) -> None:
    """S3 restarts; then the time of the URLs runs out; then web restarts and an answer of it is lost."""
    web.part_size = 1000
    content = os.urandom(3500)
    (control.parent / "output" / "map.bin").write_bytes(content)
    part = "/s3/output/map.bin?partNumber="
    web.faults = {f"{part}2": [503, 500], f"{part}3": [403, 400],
                  "uploads output/map.bin": [502], "complete output/map.bin": [503]}
    (file,) = collect(control, web).files
    assert web.objects["output/map.bin"] == content
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert [web.calls.count(f"{part}{number}") for number in (1, 2, 3, 4)] == [1, 3, 3, 1]


def test_an_upload_that_object_storage_forgot_begins_anew(control: Path, web: FakeWeb) -> None:
    web.part_size = 1000
    content = os.urandom(2500)
    (control.parent / "output" / "map.bin").write_bytes(content)
    web.faults = {"/s3/output/map.bin?partNumber=3": [404]}
    assert [file.size for file in collect(control, web).files] == [2500]
    assert web.objects["output/map.bin"] == content


def test_what_web_will_not_have_and_what_changes_for_ever_are_problems(control: Path, web: FakeWeb) -> None:
    output = control.parent / "output"
    for name in ("kept", "refused", "shrinks"):
        (output / name).write_bytes(b"x" * 30_000)
    web.faults = {"uploads output/refused": [422]}
    web.before_upload = lambda path: os.truncate(output / "shrinks", (output / "shrinks").stat().st_size // 2)
    facts = collect(control, web)
    assert [file.path for file in facts.files] == ["kept"]
    assert [problem.partition(":")[0] for problem in facts.problems] == [
        "'refused' was not kept", "'shrinks' was not kept"]


def test_a_file_that_grows_for_ever_is_kept_as_it_was(control: Path, web: FakeWeb) -> None:
    growing = control.parent / "output" / "growing"
    growing.write_bytes(b"x" * 1000)

    def grow(_: str) -> None:
        with growing.open("ab") as file:
            file.write(b"y" * 1000)

    web.before_upload = grow
    assert [file.size for file in collect(control, web).files] == [1000]
    assert web.objects["output/growing"] == b"x" * 1000


def test_folders_past_all_depth_end_neither_the_guard_nor_the_recorder(control: Path, web: FakeWeb) -> None:
    grant(control, {"url": web.url}, disk_mb=1000)
    (control / "main.pid").write_text("4194304")  # nobody's
    (control.parent / "output" / "progress.jsonl").mkdir()
    (control.parent / "output" / "notes").touch()
    (control / "log").write_text("up\n")
    subprocess.run([sys.executable, "-c", "import os\nfor _ in range(2000): os.mkdir('deeper'); os.chdir('deeper')"],
                   cwd=control.parent / "output", check=True)
    recorder = subprocess.Popen([sys.executable, "-P", "-m", "workers.recorder", control], stdin=subprocess.PIPE)
    assert recorder.stdin is not None
    try:
        until(lambda: web.reports or recorder.poll() is not None)
        recorder.stdin.close()
        assert recorder.wait(60) == 0
    finally:
        subprocess.run(["rm", "-rf", control.parent / "output" / "deeper"], check=True)
    facts = Facts.model_validate(web.facts)
    assert [file.path for file in facts.files] == ["notes"]
    assert ["lies too deep" in problem for problem in facts.problems] == [True]


def test_facts_that_web_will_not_have_are_told_as_far_as_it_will(control: Path, web: FakeWeb) -> None:
    (control.parent / "output" / "notes").touch()
    (control / "ingested.json").write_text('{"unsound": "\\u0000"}')
    web.refuses = lambda facts: "ingested" in facts
    facts = collect(control, web)
    assert (facts.files, facts.problems) == ((), ("what was found cannot be told",))


def in_pod(control: Path) -> subprocess.Popen[str]:
    """A recorder as the sidecar of a pod, whose program has ended."""
    (control / "status").write_text("0\n")
    return subprocess.Popen([sys.executable, "-P", "-m", "workers.recorder", control, "pod", control / "pod.json"],
                            stderr=subprocess.PIPE, text=True)


def test_in_a_pod_a_failure_that_nobody_foresaw_is_said_and_all_is_tried_again(control: Path, web: FakeWeb) -> None:
    (control.parent / "output" / "notes").touch()
    recorder = in_pod(control)
    assert recorder.stderr is not None
    assert "Traceback" in recorder.stderr.readline()
    grant(control, {"url": web.url}, grace_seconds=60, beside=[])
    (control / "grant.json").rename(control / "pod.json")
    assert web.heard.wait(60)
    until((control / "recorded").exists)
    assert recorder.poll() is None
    recorder.terminate()
    assert recorder.wait(60) == 0
    recorder.stderr.close()


def test_in_a_pod_what_fails_for_ever_is_left_once_it_was_told_to_end(control: Path, web: FakeWeb) -> None:
    recorder = in_pod(control)
    assert recorder.stderr is not None
    assert "Traceback" in recorder.stderr.readline()
    recorder.terminate()
    assert recorder.stderr.read().count("Traceback") >= LAST_TRIES - 1
    assert recorder.wait(60) == 0
    recorder.stderr.close()


class FakeTime:
    """Passes while somebody sleeps; what was to happen by then has."""

    def __init__(self, happens: dict[int, Callable[[], object]]) -> None:
        self.now, self.happens, self.sleeps = 0.0, happens, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        if self.sleeps in self.happens:
            self.happens[self.sleeps]()


def sidecar_in(control: Path, monkeypatch: pytest.MonkeyPatch, happens: dict[str, int]) -> tuple[Sidecar, FakeTime]:
    """With two containers beside, which are given 60 s; `happens`: after how many fifths of a second what does."""
    handlers: list[Callable[[], object]] = []
    monkeypatch.setattr("signal.signal", lambda number, handler: handlers.append(handler))
    time = FakeTime({})
    monkeypatch.setattr("workers.recorder.time", time)
    sidecar = Sidecar(control)
    sidecar.beside, sidecar.beside_seconds = ["bridge", "sensor"], 60 + 5
    time.happens = {at: handlers[0] if what == "SIGTERM" else (control / what).touch for what, at in happens.items()}
    return sidecar, time


@pytest.mark.parametrize(("happens", "seconds"), [
    ({"bridge.status": 10, "sensor.status": 20}, 4), ({"bridge.status": 10}, 65), ({"SIGTERM": 15}, 3)])
def test_in_a_pod_nothing_is_collected_before_those_beside_have_ended(
        control: Path, monkeypatch: pytest.MonkeyPatch, happens: dict[str, int], seconds: float) -> None:
    sidecar, time = sidecar_in(control, monkeypatch, happens)
    sidecar.wait_for_others()
    assert time.now == pytest.approx(seconds, abs=0.3)


@pytest.mark.parametrize(("happens", "seconds"), [
    ({"status": 10, "bridge.status": 15, "sensor.status": 20}, 4), ({"status": 10, "bridge.status": 15}, 65),
    ({"SIGTERM": 15}, 3), ({}, 65)])
def test_a_recorder_that_starts_when_its_pod_is_ending_waits_for_all_that_does(
        control: Path, monkeypatch: pytest.MonkeyPatch, happens: dict[str, int], seconds: float) -> None:
    """The kubelet's hook was faster; whether its signal came as well, and nobody listened, cannot be known."""
    (control / "leave").touch()
    sidecar, time = sidecar_in(control, monkeypatch, happens)
    while not sidecar.wait(0.2):
        pass
    sidecar.wait_for_others()
    assert time.now == pytest.approx(seconds, abs=0.3)
    sidecar.stay()  # no longer
    assert time.now == pytest.approx(seconds, abs=0.3)


def test_web_being_down_costs_only_time(control: Path, web: FakeWeb) -> None:
    web.failures = 5
    (control.parent / "output" / "notes").write_text("kept")
    assert [file.path for file in collect(control, web).files] == ["notes"]


def test_the_address_is_read_again_at_each_try(control: Path, web: FakeWeb, tmp_path: Path) -> None:
    endpoints = tmp_path / "endpoints.json"
    endpoints.write_text('{"web": "http://127.0.0.1:9"}')
    grant(control, {"endpoints": str(endpoints)})
    recorder = subprocess.Popen([sys.executable, "-P", "-m", "workers.recorder", control], stdin=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)
    assert recorder.stderr is not None
    assert "trying again" in recorder.stderr.readline()
    endpoints.write_text(json.dumps({"web": web.url}))
    assert web.heard.wait(60)
    recorder.stderr.close()
    assert recorder.wait(60) == 0


def test_when_the_attempt_is_over_it_goes(control: Path, web: FakeWeb) -> None:
    web.over = True
    done = subprocess.run([sys.executable, "-P", "-m", "workers.recorder", control], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=True, timeout=60)
    assert "nobody waits" in done.stderr
    assert not (control / "recorded").exists()


def test_it_reports_while_the_program_runs_and_only_what_is_new(control: Path, web: FakeWeb) -> None:
    recorder = subprocess.Popen([sys.executable, "-P", "-m", "workers.recorder", control], stdin=subprocess.PIPE)
    assert recorder.stdin is not None
    (control / "log").write_text("one\n")
    (control.parent / "output" / "progress.jsonl").write_text('{"percent": 10}\n')
    until(lambda: len(web.reports) == 1)
    with (control / "log").open("a") as log:
        log.write("two\n")
    until(lambda: len(web.reports) == 2)
    recorder.stdin.close()
    assert recorder.wait(60) == 0
    said: list[dict[str, Any]] = web.reports
    assert said[0] == {"progress": {"percent": 10, "sim_time": None, "message": None},
                       "log": {"offset": 0, "skipped": 0, "bytes": 4, "text": "one\n"}}
    assert said[1] == {"progress": None, "log": {"offset": 4, "skipped": 0, "bytes": 4, "text": "two\n"}}


def test_a_damaged_recording_is_kept_and_said_to_be_damaged(control: Path, web: FakeWeb) -> None:
    record(control.parent / "output" / "run", count=3000)
    data = control.parent / "output" / "run" / "run.db3"
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    (recording,) = collect(control, web).recordings
    assert recording.state == "DAMAGED"
    assert web.objects["output/run/run.db3"] == content[: len(content) // 2]


def test_a_log_that_grows_faster_than_it_can_be_told_is_told_from_its_end(control: Path, web: FakeWeb) -> None:
    recorder = subprocess.Popen([sys.executable, "-P", "-m", "workers.recorder", control], stdin=subprocess.PIPE)
    assert recorder.stdin is not None
    (control / "log").write_text("x" * 200_000)
    until(lambda: len(web.reports) == 1)
    recorder.stdin.close()
    assert recorder.wait(60) == 0
    chunk = web.reports[0]["log"]
    assert (chunk["skipped"], chunk["bytes"], len(chunk["text"])) == (200_000 - 65_536, 65_536, 65_536)
