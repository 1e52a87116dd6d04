"""Any moment of a bundle, over HTTP: messages as lines, slices as recordings of their own."""

import io
import json
import os
import signal
import tarfile
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rosbags.rosbag2 import Reader

from tests.end_to_end.test_ingests import upload
from tests.stack import Stack
from tests.tars import unpack
from tests.waiting import until
from tests.workers.bags.making import START, write_db3

S = 10**9
TIMES = [START + n * S // 10 for n in range(300)]


@pytest.fixture(scope="module")
def bundle(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Thirty seconds, ten messages each, alternating between two topics."""
    folder: Path = tmp_path_factory.mktemp("cut")
    write_db3(folder / "cut_0.db3", [(f"/t{n % 2}", time) for n, time in enumerate(TIMES)])
    return upload(stack, folder)


def lines(stack: Stack, bundle: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = stack.http.get(f"/bundles/{bundle['id']}/messages", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_without_bounds_it_is_everything_in_order(stack: Stack, bundle: dict[str, Any]) -> None:
    seen = lines(stack, bundle)
    assert [line["t_ns"] for line in seen] == TIMES
    assert {"topic", "type", "t_ns", "data"} <= set(seen[0])


@pytest.mark.parametrize(("query", "first", "last"), [
    ({"start": "+10", "end": "+20"}, 100, 200), ({"start": TIMES[7], "end": TIMES[9]}, 7, 9), ({"end": "+0.1"}, 0, 1),
    ({"start": "+29.95"}, 300, 300), ({"start": -5, "end": TIMES[1]}, 0, 1)])
def test_a_time_begins_with_its_start_and_ends_before_its_end(
        stack: Stack, bundle: dict[str, Any], query: dict[str, Any], first: int, last: int) -> None:
    assert [line["t_ns"] for line in lines(stack, bundle, **query)] == TIMES[first:last]


def test_topics_are_chosen(stack: Stack, bundle: dict[str, Any]) -> None:
    seen = lines(stack, bundle, topics="/t1", end="+1")
    assert [(line["topic"], line["t_ns"]) for line in seen] == [("/t1", time) for time in TIMES[1:10:2]]
    assert len(lines(stack, bundle, topics="/t0,/t1", end="+1")) == 10


def test_a_slice_is_a_recording_of_its_own(stack: Stack, bundle: dict[str, Any], tmp_path: Path) -> None:
    answer = stack.http.get(f"/bundles/{bundle['id']}/slice", params={"start": "+5", "end": "+6", "format": "db3"})
    assert "_slice.tar" in answer.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        unpack(archive, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("_slice")
    with Reader(folder) as reader:
        assert [time for _, time, _ in reader.messages()] == TIMES[50:60]
    answer = stack.http.get(f"/bundles/{bundle['id']}/slice", params={"start": "+5", "end": "+6"})
    (tmp_path / "slice.mcap").write_bytes(answer.content)
    with Reader(tmp_path / "slice.mcap") as reader:
        assert [time for _, time, _ in reader.messages()] == TIMES[50:60]


@pytest.mark.parametrize(("query", "field"), [
    ({"start": "soon"}, "start"), ({"end": "1e5"}, "end"), ({"topics": "/none"}, "topics"), ({"start": 2**63}, "start"),
    ({"limit": 5}, "limit"), ({"start": "+" + "9" * 12}, "start")])
def test_a_part_that_cannot_be_names_the_parameter(
        stack: Stack, bundle: dict[str, Any], query: dict[str, Any], field: str) -> None:
    answer = stack.http.get(f"/bundles/{bundle['id']}/messages", params=query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field


def test_what_is_not_there_or_cannot_be_read_is_said(stack: Stack, tmp_path: Path) -> None:
    assert stack.http.get(f"/bundles/{uuid4()}/messages").status_code == 404
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "words.mcap").write_text("no recording at all, whatever it says")
    words = upload(stack, folder)
    answer = stack.http.get(f"/bundles/{words['id']}/slice")
    assert (answer.status_code, answer.json()["code"]) == (409, "bundle_not_readable")


def test_a_reading_ends_when_its_client_goes(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    write_db3(folder / "long_0.db3", [("/t", START + n) for n in range(200_000)], size=1000)
    bundle = upload(stack, folder)
    with stack.http.stream("GET", f"/bundles/{bundle['id']}/messages") as stream:
        pieces = stream.iter_bytes(1000)
        # The kernel counts a write when it has returned: one that waits for us to read on is not counted yet.
        until(lambda: next(pieces) and _excerpts_at_work(stack))
    until(lambda: not _excerpts_at_work(stack))


def _reader(stack: Stack) -> int:
    """The pid of this stack's reader."""
    token = json.loads((stack.data / "kept.json").read_text())["secrets"]["reader_token"].encode()
    alike = {int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit()
             and b"workers.reader" in _read(place / "cmdline") and token in _read(place / "environ")}
    (found,) = {pid for pid in alike if _parent(pid) not in alike}  # a child looks like it until its exec
    return found


def _parent(pid: int) -> int:
    return int((_read(Path("/proc", str(pid), "stat")).rpartition(b")")[2].split() or [b"", b"0"])[1])


def _excerpts_at_work(stack: Stack) -> list[int]:
    """Children of the reader that have written something: those that only wait have not been asked yet."""
    found = []
    for children in Path("/proc", str(_reader(stack)), "task").glob("*/children"):
        for pid in _read(children).split():
            try:
                found += [int(pid)] if _has_written(Path("/proc", pid.decode())) else []
            except OSError:
                continue
    return found


def _has_written(place: Path) -> bool:
    return int((place / "io").read_text().split("wchar: ")[1].split()[0]) > 10_000


def test_a_reader_that_is_gone_is_said_and_comes_back(stack: Stack, bundle: dict[str, Any]) -> None:
    os.kill(_reader(stack), signal.SIGKILL)
    assert stack.http.get(f"/bundles/{bundle['id']}/messages", params={"end": "+1"}).status_code in (200, 503)
    until(lambda: stack.http.get(f"/bundles/{bundle['id']}/messages", params={"end": "+1"}).status_code == 200)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_many_read_at_once(stack: Stack, bundle: dict[str, Any]) -> None:
    seen: list[int] = []

    def read() -> None:
        with httpx.Client(base_url=stack.http.base_url, headers=stack.http.headers, timeout=60) as client:
            answer = until(lambda: (got := client.get(f"/bundles/{bundle['id']}/messages")).status_code == 200 and got)
            seen.append(len(answer.text.splitlines()))

    reading = [threading.Thread(target=read) for _ in range(12)]
    for thread in reading:
        thread.start()
    for thread in reading:
        thread.join(60)
    assert seen == [300] * 12
