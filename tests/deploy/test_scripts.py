"""Every script of the project is sound shell."""

import subprocess
import sys
from pathlib import Path

from tests.k8s.rendering import ROOT

SKIPPED = {".venv", ".venv-audit", ".git", ".simyard", "node_modules"}


def scripts() -> list[Path]:
    return sorted(file for file in ROOT.rglob("*.sh") if not SKIPPED & set(file.relative_to(ROOT).parts))


def test_shellcheck_finds_nothing() -> None:
    assert {"install.sh", "server-renew.sh", "images.sh", "env.sh", "secrets.sh"} <= {file.name for file in scripts()}
    done = subprocess.run([Path(sys.executable).with_name("shellcheck"), "--external-sources", *scripts()], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_bash_script_stops_at_the_first_error() -> None:
    for file in scripts():
        first, *rest = file.read_text().splitlines()
        if first == "#!/usr/bin/env bash":
            assert "set -euo pipefail" in rest, file
