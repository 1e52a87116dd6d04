"""Brings a simulator the bundles that it asked for: `python -m workers.inputs CONTROL [GRANT]`, run before the
program. Each lies in a folder of its own below SIMYARD_INPUTS, named by the bundle's id, for reading only."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from workers.fetching import Unsound, fetch
from workers.guards import tell_limit
from workers.uplink import Over, Refused, Uplink, grant_of

LEAVE_FREE = 256 << 20  # bytes


def bring(folder: Path, uplink: Uplink) -> None:
    """Fetch every file of every bundle. Raises Unsound when one is not what it was, OSError when there is no room."""
    bundles = uplink.inputs()["bundles"]
    wanted = sum(file["size"] for bundle in bundles for file in bundle["files"])
    if wanted + LEAVE_FREE > shutil.disk_usage(folder).free:
        raise OSError(f"{wanted} bytes are to be fetched, {shutil.disk_usage(folder).free} are free")
    for bundle in bundles:
        place = folder / bundle["id"]
        place.mkdir(mode=0o750, exist_ok=True)
        for file in bundle["files"]:
            target = place / file["name"]
            fetch(file, target, lambda _: None,
                  lambda id=bundle["id"], name=file["name"]: _fresh_url(uplink, id, name))  # type: ignore[misc]
            target.chmod(0o440)
        place.chmod(0o550)


def _fresh_url(uplink: Uplink, bundle: str, name: str) -> str:
    found: dict[str, Any] = next(each for each in uplink.inputs()["bundles"] if each["id"] == bundle)
    return next(str(file["url"]) for file in found["files"] if file["name"] == name)


def main(control: Path, grant: str | None = None) -> None:
    """Exit code 0 when all is there; else, however it ended, the attempt's limit file and its last word say why the
    program was not started."""
    if grant is not None:
        os.umask(0o007)  # in a pod, where the program is another user of our group
    control.mkdir(parents=True, exist_ok=True)
    (control.parent / "inputs").mkdir(exist_ok=True)
    tell_limit(control, "runtime_error", "its inputs were not brought")
    try:
        bring(control.parent / "inputs", Uplink(grant_of(control, grant)))
    except (Unsound, Refused, Over, OSError) as error:
        tell_limit(control, "runtime_error", f"its inputs could not be fetched: {error}"[:400])
        sys.exit(str(error))
    tell_limit(control, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
