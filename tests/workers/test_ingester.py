"""The ingester fetches exactly what was announced, or says in which way it is something else."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeWeb
from tests.workers.bags.making import messages, write_db3
from workers import fetching, uplink
from workers.facts import Ingested
from workers.ingester import ingest
from workers.uplink import Uplink


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeb]:
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(uplink, "LONGEST_PAUSE_SECONDS", 0.05)
    with FakeWeb() as web:
        yield web


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    for folder in ("output", ".simyard"):
        (tmp_path / "attempt" / folder).mkdir(parents=True)
    return tmp_path / "attempt"


@pytest.fixture
def bag(tmp_path: Path) -> bytes:
    write_db3(tmp_path / "bag.db3", messages(10))
    return (tmp_path / "bag.db3").read_bytes()


def grant(web: FakeWeb) -> dict[str, Any]:
    return {"job": "j", "attempt": 1, "token": "t", "kind": "ingest", "address": {"url": web.url}}


def announce(web: FakeWeb, **files: bytes) -> None:
    for name, content in files.items():
        web.sources[name] = content
        web.inputs.append({"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})


def run(web: FakeWeb, attempt: Path) -> Ingested:
    line = Uplink(grant(web))
    return Ingested.model_validate(json.loads(json.dumps(ingest(attempt, line, line.inputs()["files"]))))


def test_what_was_uploaded_is_examined_and_its_metadata_rebuilt(web: FakeWeb, attempt: Path, bag: bytes) -> None:
    announce(web, **{"run_0.db3": bag})
    found = run(web, attempt).recording
    assert found is not None
    assert (found.state, found.messages, found.storage) == ("READY", 10, "sqlite3")
    original, rebuilt = found.files
    assert (original.path, original.size, original.role) == ("run_0.db3", len(bag), "data")
    assert original.etag == hashlib.md5(bag).hexdigest()
    assert (rebuilt.name, rebuilt.role) == ("metadata.yaml", "rebuilt")
    assert b"run_0.db3" in web.objects[f"derived/{rebuilt.path}"]
    assert found.index is not None
    assert len(web.objects[f"derived/{found.index.path}"]) == found.index.size
    percents = [json.loads(line)["percent"] for line in (attempt / "output/progress.jsonl").read_text().splitlines()]
    assert percents == sorted(set(percents))


def test_a_broken_connection_is_gone_on_from_where_it_broke(web: FakeWeb, attempt: Path, bag: bytes) -> None:
    announce(web, **{"run_0.db3": bag})
    web.cuts = 3
    assert run(web, attempt).unsound is None
    starts = [int(call.rsplit(" ", 1)[1]) for call in web.calls if "/s3/run_0.db3 from" in call]
    assert len(starts) == 4
    assert starts == sorted(set(starts))


@pytest.mark.parametrize(("change", "said"), [
    (lambda web: web.sources.update({"b.mcap": b"x" * 9}), "it has 9 bytes, announced were 5"),
    (lambda web: web.sources.update({"b.mcap": b"other"}), "its sha256 is"),
    (lambda web: web.sources.pop("b.mcap"), "it is not in object storage"),
])
def test_what_is_not_what_was_announced_is_unsound(
        web: FakeWeb, attempt: Path, bag: bytes, change: Any, said: str) -> None:
    announce(web, **{"a.db3": bag, "b.mcap": b"bytes"})
    change(web)
    found = run(web, attempt)
    assert found.recording is None
    assert found.unsound is not None
    assert found.unsound.startswith("b.mcap: ")
    assert said in found.unsound


def test_what_is_overwritten_while_it_is_read_is_unsound(web: FakeWeb, attempt: Path, bag: bytes) -> None:
    announce(web, **{"a.db3": bag})
    web.cuts = 1
    other = bytes(reversed(bag))
    original = Uplink.inputs

    def overwriting(line: Uplink) -> dict[str, Any]:
        if any("from" in call for call in web.calls):
            web.sources["a.db3"] = other
        return original(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Uplink, "inputs", overwriting)
        assert "overwritten" in (run(web, attempt).unsound or "")


def test_an_empty_file_is_fetched_too(web: FakeWeb, attempt: Path) -> None:
    announce(web, **{"a.db3": b"", "metadata.yaml": b""})
    found = run(web, attempt).recording
    assert found is not None
    assert (found.state, found.reason) == ("REJECTED", "not_a_recording")


def test_a_second_try_begins_on_a_clean_folder(web: FakeWeb, attempt: Path, bag: bytes) -> None:
    announce(web, **{"a.db3": bag})
    (attempt / "recording").mkdir()
    (attempt / "recording" / "stray.mcap").write_bytes(b"left by an attempt that was killed")
    found = run(web, attempt).recording
    assert found is not None
    assert [file.name for file in found.files if file.role == "data"] == ["a.db3"]


def test_no_room_is_our_failure_and_not_the_recordings(
        web: FakeWeb, attempt: Path, bag: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(web, **{"a.db3": bag})
    usage = shutil.disk_usage(attempt)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match="are free"):
        run(web, attempt)


def test_as_a_program_it_leaves_what_it_found_beside_its_grant(web: FakeWeb, attempt: Path, bag: bytes) -> None:
    announce(web, **{"a.db3": bag})
    (attempt / ".simyard" / "grant.json").write_text(json.dumps(grant(web)))
    subprocess.run([sys.executable, "-P", "-m", "workers.ingester"], cwd=attempt, check=True, timeout=100)
    said = Ingested.model_validate_json((attempt / ".simyard" / "ingested.json").read_text())
    assert said.recording is not None
    connection = sqlite3.connect(attempt / "recording" / "a.db3")
    try:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (10,)
    finally:
        connection.close()
