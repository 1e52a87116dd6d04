"""Makes what a program left accessible to us again. Used by recorders before they look, and by runtimes before they
remove."""

import os
from contextlib import suppress
from pathlib import Path


def open_folders(top: Path) -> None:
    """Give ourselves every right on every folder below `top`, itself included; links are not followed."""
    pending = [top]
    while pending:
        place = pending.pop()
        with suppress(OSError):  # gone meanwhile, or not ours: whoever looks next says so
            if place.is_symlink():
                continue
            place.chmod(0o700)
            pending += [Path(entry.path) for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)]
