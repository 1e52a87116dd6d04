"""The program of an ingest job: `python -m workers.ingester [GRANT]`, started by the runtime in the attempt's folder.
Fetches what was uploaded, holds it against what was announced, has it examined, and leaves what it found to the
recorder."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.bags.cage import ExaminationFailed
from workers.examination import examined
from workers.fetching import Unsound, fetch
from workers.uplink import Uplink, grant_of

LEAVE_FREE = 64 << 20  # bytes
FOUND = "ingested.json"  # in the control folder, where the recorder looks for it


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
        fetched = {file["name"]: fetch(file, folder / file["name"], progress.fetched,
                                       lambda name=file["name"]: _fresh_url(uplink, name))  # type: ignore[misc]
                   for file in files}
    except Unsound as error:
        return {"unsound": str(error)[:1000]}
    progress.tell(90, "examining")
    facts = examined(folder, total, uplink, 0, scratch)
    facts["files"] = [member | fetched.get(member["name"], {}) if member["role"] != "rebuilt" else member
                      for member in facts["files"]]
    return {"recording": facts | {"name": "recording", "path": "."}}


def _fresh_url(uplink: Uplink, name: str) -> str:
    return next(str(file["url"]) for file in uplink.inputs()["files"] if file["name"] == name)


def main() -> None:
    """Exit code 0 when something was found out, whatever it is; 1 when the machine or we failed."""
    attempt = Path.cwd()
    uplink = Uplink(grant_of(attempt / ".simyard", *sys.argv[1:2]))
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
