"""The program of an ingest job: `python -m workers.ingester`, started by the runtime in the attempt's folder. Fetches
what was uploaded, holds it against what was announced, has it examined, and leaves what it found to the recorder."""

import hashlib
import http.client
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workers.bags.cage import ExaminationFailed
from workers.examination import examined
from workers.uplink import Failed, Gone, Uplink, fetching

BLOCK = 1 << 20
PAUSE_SECONDS = 1.0
LEAVE_FREE = 64 << 20  # bytes
FOUND = "ingested.json"  # in the control folder, where the recorder looks for it


class Unsound(Exception):
    """What lies in object storage is not what was announced. The text says which file, and how."""


class Progress:
    """Tells how far it is: a line in progress.jsonl for each percent."""

    def __init__(self, output: Path, total: int) -> None:
        self._file = output / "progress.jsonl"
        self._total = total
        self._done = 0
        self._told = -1

    def fetched(self, size: int) -> None:
        """So many bytes more are here. Fetching is nine tenths of the way."""
        self._done += size
        self.tell(90 * self._done // max(1, self._total), "fetching")

    def tell(self, percent: int, message: str) -> None:
        """Say it unless it was said."""
        if percent > self._told:
            self._told = percent
            with self._file.open("a") as file:
                print(json.dumps({"percent": percent, "message": message}), file=file)


def fetch(uplink: Uplink, file: dict[str, Any], target: Path, tell: Callable[[int], None]) -> dict[str, Any]:
    """Fetch one file, going on where a connection broke; its path, size, sha256 and etag. Raises Unsound."""
    digest, etag, url = hashlib.sha256(), None, file["url"]
    with target.open("wb") as out:
        while etag is None or out.tell() < file["size"]:
            try:
                with fetching(url, out.tell()) as answer:
                    etag = _same(file, answer, out.tell(), etag)
                    while block := answer.read(BLOCK):
                        digest.update(block)
                        out.write(block)
                        tell(len(block))
                if out.tell() < file["size"]:
                    raise Failed("the connection was cut")
            except Gone as error:
                raise Unsound(f"{file['name']}: {error}") from error
            except Failed as error:
                print(f"{file['name']} is fetched on from byte {out.tell()}: {error}", file=sys.stderr, flush=True)
                time.sleep(PAUSE_SECONDS)
                url = next(each["url"] for each in uplink.inputs()["files"] if each["name"] == file["name"])
    if digest.hexdigest() != file["sha256"]:
        raise Unsound(f"{file['name']}: its sha256 is {digest.hexdigest()}, announced was {file['sha256']}")
    return {"path": file["name"], "size": file["size"], "sha256": file["sha256"], "etag": etag}


def _same(file: dict[str, Any], answer: http.client.HTTPResponse, offset: int, etag: str | None) -> str:
    """The etag of the object that answers, which has to be the announced size, and the same as before."""
    size = offset + int(answer.getheader("Content-Length", "0"))
    if size != file["size"]:
        raise Unsound(f"{file['name']}: it has {size} bytes, announced were {file['size']}")
    found = answer.getheader("ETag", "").strip('"')
    if etag not in (None, found):
        raise Unsound(f"{file['name']}: it was overwritten while it was read")
    return found


def ingest(attempt: Path, uplink: Uplink, files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was found, in the shape of facts.Ingested. Raises ExaminationFailed when the machine or we failed."""
    total = sum(file["size"] for file in files)
    progress = Progress(attempt / "output", total)
    folder, scratch = attempt / "recording", attempt / "scratch"
    for place in (folder, scratch):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    if total + LEAVE_FREE > shutil.disk_usage(folder).free:
        raise OSError(f"{total} bytes are to be fetched, {shutil.disk_usage(folder).free} are free")
    try:
        fetched = {file["name"]: fetch(uplink, file, folder / file["name"], progress.fetched) for file in files}
    except Unsound as error:
        return {"unsound": str(error)[:1000]}
    progress.tell(90, "examining")
    facts = examined(folder, total, uplink, 0, scratch)
    facts["files"] = [member | fetched.get(member["name"], {}) if member["role"] != "rebuilt" else member
                      for member in facts["files"]]
    return {"recording": facts | {"name": "recording", "path": "."}}


def main() -> None:
    """Exit code 0 when something was found out, whatever it is; 1 when the machine or we failed."""
    attempt = Path.cwd()
    uplink = Uplink(json.loads((attempt / ".simyard" / "grant.json").read_text()))
    try:
        found = ingest(attempt, uplink, uplink.inputs()["files"])
    except (ExaminationFailed, OSError) as error:
        print(f"could not be ingested: {error}", file=sys.stderr)
        sys.exit(1)
    part = attempt / ".simyard" / "ingested.part"
    part.write_text(json.dumps(found))
    part.rename(attempt / ".simyard" / FOUND)


if __name__ == "__main__":
    main()
