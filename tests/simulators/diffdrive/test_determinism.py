"""The same seed and parameters make the same recording, here or elsewhere; another seed makes another."""

import itertools
import json
from pathlib import Path

import pytest

from simulators.diffdrive import recording

from .runs import SHORT, drive, messages, start


def test_same_seed_same_bytes_in_another_process(tmp_path: Path) -> None:
    result = drive(tmp_path / "here")
    process = start(tmp_path / "there", SHORT)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out
    assert messages(tmp_path / "here") == messages(tmp_path / "there")
    there = json.loads((tmp_path / "there" / "result.json").read_text())
    ours, theirs = dict(result.metrics), dict(there["metrics"])
    assert ours.pop("real_time_factor") > 0 < theirs.pop("real_time_factor")
    assert (ours, result.passed) == (theirs, there["passed"])


def test_pace_does_not_change_the_messages(tmp_path: Path) -> None:
    drive(tmp_path / "fast", duration=2)
    drive(tmp_path / "paced", duration=2, realtime_factor=20)
    assert messages(tmp_path / "fast") == messages(tmp_path / "paced")


def test_a_slow_machine_makes_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive(tmp_path / "quick", duration=2)
    ages = itertools.count()
    monkeypatch.setattr(recording, "monotonic", lambda: float(next(ages)))  # a second passes at every look
    drive(tmp_path / "slow", duration=2)
    quick, slow = (next((tmp_path / name).rglob("*.db3")).read_bytes() for name in ("quick", "slow"))
    assert quick == slow


def test_another_seed_makes_another_run(tmp_path: Path) -> None:
    drive(tmp_path / "a", seed=1)
    drive(tmp_path / "b", seed=2)
    assert messages(tmp_path / "a") != messages(tmp_path / "b")


def test_noise_leaves_the_world_as_it_was(tmp_path: Path) -> None:
    drive(tmp_path / "perfect", noise=0)
    drive(tmp_path / "noisy", noise=3)
    first = [next(m for m in messages(tmp_path / name) if m[0] == "/goal") for name in ("perfect", "noisy")]
    assert first[0] == first[1]
    assert messages(tmp_path / "perfect") != messages(tmp_path / "noisy")
