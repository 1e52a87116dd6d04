"""A recording from elsewhere, as a user sends it: announced, put, completed, looked into."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from tests.stack import Stack
from tests.waiting import until
from tests.workers.bags.making import messages, write_db3, write_mcap

SETTLED = ("READY", "DAMAGED", "REJECTED", "FAILED")


def upload(stack: Stack, folder: Path, *, lie: dict[str, Any] | None = None) -> dict[str, Any]:
    """Upload every file of the folder; the bundle once it is settled."""
    files = [{"name": file.name, "size": file.stat().st_size,
              "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} | (lie or {})
             for file in sorted(folder.iterdir())]
    ticket = stack.http.post("/bundles", json={"name": folder.name, "files": files, "labels": {"from": "field"}}).json()
    for announced in ticket["uploads"]:
        content = (folder / announced["name"]).read_bytes()
        for part in announced["parts"]:
            start = (part["number"] - 1) * ticket["part_size"]
            httpx.put(part["url"], content=content[start:start + ticket["part_size"]]).raise_for_status()
    if ticket["state"] == "UPLOADING":
        stack.post(f"/bundles/{ticket['id']}/complete", status=202)
    found: dict[str, Any] = until(
        lambda: (seen := stack.get(f"/bundles/{ticket['id']}"))["state"] in SETTLED and seen, seconds=120)
    return found


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    folder = tmp_path / "field run"
    folder.mkdir()
    write_db3(folder / "field_0.db3", messages(200))
    return folder


def test_a_folder_without_metadata_is_ready_and_opens_anywhere_with_the_rebuilt_one(
        stack: Stack, bag: Path, tmp_path: Path) -> None:
    bundle = upload(stack, bag)
    assert (bundle["state"], bundle["messages"], bundle["name"]) == ("READY", 200, "field run")
    assert [problem["code"] for problem in bundle["problems"]] == ["metadata_missing"]
    assert {file["name"]: file["role"] for file in bundle["files"]} == {
        "field_0.db3": "data", "metadata.yaml": "rebuilt"}
    for file in bundle["files"]:
        answer = stack.http.get(f"/bundles/{bundle['id']}/files/{file['name']}", follow_redirects=True)
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        (tmp_path / file["name"]).write_bytes(answer.content)
    shutil.rmtree(bag)
    assert (tmp_path / "field_0.db3").stat().st_size == next(
        file["size"] for file in bundle["files"] if file["role"] == "data")
    with AnyReader([tmp_path], default_typestore=get_typestore(Stores.LATEST)) as reader:
        assert reader.message_count == 200


def test_the_same_again_is_answered_at_once(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    folder.mkdir()
    write_mcap(folder / "twice_0.mcap", messages(30))
    assert upload(stack, folder)["id"] == upload(stack, folder)["id"]


def test_a_lie_about_the_content_ends_as_a_failed_upload(stack: Stack, bag: Path) -> None:
    bundle = upload(stack, bag, lie={"sha256": "0" * 64})
    assert (bundle["state"], bundle["reason"]) == ("FAILED", "upload_failed")
    assert "field_0.db3" in bundle["problems"][0]["message"]


def test_what_is_no_recording_is_rejected_and_kept(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "text.db3").write_text("certainly no database")
    bundle = upload(stack, folder)
    assert (bundle["state"], bundle["reason"]) == ("REJECTED", "not_a_recording")
    answer = stack.http.get(f"/bundles/{bundle['id']}/files/text.db3", follow_redirects=True)
    assert answer.text == "certainly no database"


def test_a_cut_recording_is_damaged_and_says_what_is_lost(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    whole = write_mcap(tmp_path / "cut_0.mcap", messages(300)).read_bytes()
    (folder / "cut_0.mcap").write_bytes(whole[:len(whole) // 2])
    bundle = upload(stack, folder)
    assert bundle["state"] == "DAMAGED"
    assert 0 < bundle["messages"] == bundle["certificate"]["recovered"] < 300
