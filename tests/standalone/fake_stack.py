"""`simyard up` with real servers, and stand-ins for our own processes; FAKE_WORKER and so on name other stand-ins."""

import os
import sys
from dataclasses import fields
from pathlib import Path
from unittest import mock

from standalone import __main__, up
from standalone.stack import Commands

PROGRAM = (sys.executable, str(Path(__file__).with_name("fake_process.py")))


def stand_in(name: str) -> tuple[str, ...]:
    role = os.environ.get(f"FAKE_{name.upper()}", name).split()
    return (*PROGRAM, *role, *(["{port}"] if name in ("web", "flower", "reader") else []))


if __name__ == "__main__":
    commands = Commands(**{field.name: stand_in(field.name) for field in fields(Commands)})
    up.DRAIN_SECONDS = 2  # of patience with who does not heed
    with mock.patch.object(__main__, "up", lambda options, real=up.up: real(options, commands)):
        __main__.main(prog_name="simyard up")
