"""Runs of the reference robot and what they left behind, for the tests beside this file."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import sleep
from typing import Any

from simulators.diffdrive import parameters, simulation
from simulators.diffdrive.report import Result

ROOT = Path(__file__).parents[3]
SHORT = {"goals": 1, "obstacles": 3}
WATCHED = {"realtime_factor": 1}  # slow enough to be caught in the middle


def drive(output: Path, seed: int = 7, **given: Any) -> Result:
    """One run in this process, into the new folder `output`."""
    output.mkdir()
    return simulation.run(parameters.parse({**SHORT, **given}), seed, output, stopped=lambda: False)


def start(output: Path, given: object, **changes: str | None) -> subprocess.Popen[str]:
    """One run as Simyard starts it; `changes` to its environment, None leaves a variable out."""
    asked = output.with_suffix(".json")
    asked.write_text(json.dumps(given))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SIMYARD_PARAMETERS": str(asked),
        "SIMYARD_SEED": "7",
        "SIMYARD_OUTPUT": str(output),
        **changes,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "simulators.diffdrive"],
        env={name: value for name, value in environment.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def database(output: Path) -> Path:
    return output / "diffdrive" / "diffdrive_0.db3"


def query(output: Path, statement: str) -> list[tuple[Any, ...]]:
    """What plain SQLite answers."""
    with closing(sqlite3.connect(database(output))) as connection:
        return connection.execute(statement).fetchall()


def messages(output: Path) -> list[tuple[Any, ...]]:
    """Every message, in the order of recording: topic, timestamp and payload."""
    return query(
        output, "SELECT name, timestamp, data FROM messages JOIN topics ON topics.id = topic_id ORDER BY messages.id"
    )


def wait_for_messages(process: subprocess.Popen[str], output: Path, wanted: int) -> int:
    """How many messages are on disk once there are `wanted` or more."""
    while process.poll() is None:
        if (output / "progress.jsonl").exists():
            (count,) = query(output, "SELECT count(*) FROM messages")[0]
            if count >= wanted:
                return int(count)
        sleep(0.02)
    raise AssertionError(process.communicate())
