"""The `simyard` command: what it says of itself, and that `up` becomes the stack with the options it was given."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.cli import main


def test_it_tells_its_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"simyard {version('simyard')}\n"


def test_up_is_handed_its_options_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: given.append([program, *words]))
    CliRunner().invoke(main, ["up", "--port", "0", "--json", "--help"])
    assert given == [[sys.executable, sys.executable, "-P", "-m", "standalone", "--port", "0", "--json", "--help"]]


def test_help_shows_the_options_of_up(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-P", "-m", "client.cli", "up", "--help"], cwd=tmp_path, text=True,
                          capture_output=True, check=True, timeout=60).stdout
    assert said.startswith("Usage: simyard up [OPTIONS]")
    for option in ("--port", "--data", "--workers", "--watchers", "--json"):
        assert option in said


def test_an_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "client.cli", "up", "--fast"], cwd=tmp_path, text=True,
                          capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--fast" in done.stderr


def test_without_the_stack_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.cli.find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["up"])
    assert result.exit_code == 1
    assert "pip install 'simyard[standalone]'" in result.output
