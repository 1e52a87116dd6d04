"""Every command and program in the documentation does what it says, on a running stack."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+) (\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def blocks(language: str, mark: str) -> list[str]:
    return [text for found, said, text in BLOCKS if (found, said) == (language, mark)]


def test_the_readmes_commands_work_from_top_to_bottom(stack: Stack, tmp_path: Path) -> None:
    (simulator,) = blocks("python", "simulator")
    (tmp_path / "simulator.py").write_text(simulator)
    setting = f"set -euo pipefail\nSIMYARD_DATA={stack.data}\n"
    done = subprocess.run(["bash", "-c", setting + "\n".join(blocks("sh", "tested"))], cwd=tmp_path, check=False,
                          capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "event: end" in done.stdout
    newest = stack.get("/simulations", template="mine")["items"][0]
    assert newest["total"] == 3
    for instance in stack.ended(newest["id"]):
        assert (instance["state"], instance["passed"] in (True, False)) == ("SUCCEEDED", True)
        assert instance["progress"]["percent"] == 100


def test_bringing_ones_own_simulator_takes_ten_lines_or_so() -> None:
    (simulator,) = blocks("python", "simulator")
    assert len(simulator.splitlines()) <= 11


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)`", README))))
def test_every_make_target_of_the_readme_exists(target: str) -> None:
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True, timeout=60)


@pytest.mark.timeout(300)
def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "standalone.demo"], capture_output=True, text=True, check=False,
                          timeout=280, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCEEDED") >= 8
    assert "sha256 as recorded" in done.stdout


def test_links_between_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
