"""A bundle given to a simulator: there before it starts, whole, and for reading only."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pytest
from minio import Minio

from tests.end_to_end.test_ingests import upload
from tests.stack import Stack
from tests.workers.bags.making import messages, write_db3

LOOK = """
import hashlib, json, os, pathlib
found = {}
for file in sorted(pathlib.Path(os.environ["SIMYARD_INPUTS"]).rglob("*")):
    if file.is_file():
        found["/".join(file.parts[-2:])] = [hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mode & 0o222]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bundle(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("given")
    write_db3(folder / "given_0.db3", messages(50))
    return upload(stack, folder)


def test_a_program_finds_its_inputs_and_cannot_change_them(stack: Stack, bundle: dict[str, Any]) -> None:
    template = stack.template(sys.executable, "-c", LOOK)
    (instance,) = stack.ended(stack.submit(template, inputs=[bundle["id"]]))
    assert instance["state"] == "SUCCEEDED", instance
    assert json.loads(instance["log_tail"]) == {
        f"{bundle['id']}/{file['name']}": [file["sha256"], 0] for file in bundle["files"]}


def test_inputs_that_are_not_there_are_refused(stack: Stack, bundle: dict[str, Any]) -> None:
    strange = str(uuid4())
    answer = stack.http.post("/simulations", json={"template": "diffdrive", "inputs": [bundle["id"], strange]})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "inputs.1", "message": f"there is no bundle {strange}"}]


def test_content_that_is_gone_ends_it_with_a_reason_before_it_ran(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    write_db3(folder / "gone_0.db3", [("/x", int(hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12], 16))])
    bundle = upload(stack, folder)
    url = stack.http.get(f"/bundles/{bundle['id']}/files/gone_0.db3").headers["location"]
    _delete(stack, url)
    template = stack.template("/bin/echo", "never", retry={"max_attempts": 1})
    (instance,) = stack.ended(stack.submit(template, inputs=[bundle["id"]]))
    assert (instance["state"], instance["reason"]) == ("FAILED", "runtime_error")
    assert "gone_0.db3: it is not in object storage" in instance["message"]
    assert "never" not in instance["log_tail"]


def test_inputs_do_not_count_as_written(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    write_db3(folder / "large_0.db3", messages(4000), size=1000)
    bundle = upload(stack, folder)
    template = stack.template("/bin/sleep", "1", resources={"disk_mb": 2, "memory_mb": 100})
    (instance,) = stack.ended(stack.submit(template, inputs=[bundle["id"]]))
    assert instance["state"] == "SUCCEEDED", instance["message"]


def _delete(stack: Stack, url: str) -> None:
    s3 = stack.ready["s3"]
    client = Minio(s3["endpoint"], s3["access_key"], s3["secret_key"], secure=False)
    client.remove_object(s3["bucket"], unquote(urlsplit(url).path).split("/", 2)[2])
