"""Examines one recording in its cage and uploads what is made of it: its index, a rebuilt metadata.yaml. The pass that
recorder and ingester have in common."""

from pathlib import Path
from typing import Any

from workers.bags.cage import examine
from workers.uplink import Uplink

SECONDS = 60.0  # and more for large recordings, at no less than this speed:
BYTES_PER_SECOND = 20 << 20


def examined(place: Path, size: int, uplink: Uplink, number: int, scratch: Path) -> dict[str, Any]:
    """The facts of the recording at `place`, `size` bytes in all, which is the attempt's `number`th.

    `files` has one more, of role rebuilt, when its metadata.yaml was missing or cannot be read (then it goes by another
    name); `index` names the upload of its index.
    Private copies go below `scratch`. Raises cage.ExaminationFailed when the machine or we failed."""
    index = scratch / f"index-{number}"
    facts = examine(place, SECONDS + size / BYTES_PER_SECOND, scratch=scratch, index=index)
    facts["index"] = _uploaded(uplink, f"{number}/index", index) if index.exists() else None
    if text := facts.pop("rebuilt"):
        file = scratch / f"rebuilt-{number}"
        file.write_text(text)
        taken = any(member["name"] == "metadata.yaml" for member in facts["files"])
        facts["files"].append({"name": "metadata.rebuilt.yaml" if taken else "metadata.yaml", "role": "rebuilt"}
                              | _uploaded(uplink, f"{number}/metadata.yaml", file))
    return facts


def _uploaded(uplink: Uplink, path: str, file: Path) -> dict[str, Any]:
    size, sha256 = uplink.upload(f"derived/{path}", file)
    file.unlink()
    return {"path": path, "size": size, "sha256": sha256}
