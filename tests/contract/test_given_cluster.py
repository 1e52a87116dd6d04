"""The contract suite on a cluster of which only a kubeconfig is known: another process, for want of a real one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import test_runtime

ROOT = Path(__file__).parents[2]
SUITE = "tests/contract/test_runtime.py"
SETTINGS = {"SIMYARD_TEST_KUBECONFIG", "SIMYARD_TEST_IMAGE"}


@pytest.fixture
def given(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.cluster", str(tmp_path), "given:1"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
    assert process.returncode == 0


def run_suite(folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if name not in SETTINGS and "PYTEST" not in name}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", SUITE, "-k", "kubernetes", "--timeout", "100",
                           "-p", "no:cacheprovider", "--basetemp", str(folder / "suite")],
                          cwd=ROOT, env=own | settings, capture_output=True, text=True, check=False)


@pytest.mark.timeout(300)
def test_the_suite_passes_on_a_given_cluster_and_leaves_nothing_there(
        given: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert given.stdin is not None
    assert given.stdout is not None
    kubeconfig = given.stdout.readline().strip()
    done = run_suite(tmp_path, SIMYARD_TEST_KUBECONFIG=kubeconfig, SIMYARD_TEST_IMAGE="given:1")
    assert done.returncode == 0, done.stdout + done.stderr
    suite = [name for name in vars(test_runtime) if name.startswith("test_")]
    print(file=given.stdin, flush=True)
    calls = json.loads(given.stdout.readline())
    assert (calls["create namespaces"], calls["delete namespaces"]) == (1, 1)
    assert calls["create pods"] > len(suite) / 2  # not every one makes a pod
    given.stdin.close()


def test_an_image_has_to_be_named(tmp_path: Path) -> None:
    done = run_suite(tmp_path, SIMYARD_TEST_KUBECONFIG="/nowhere")
    assert done.returncode != 0
    assert "SIMYARD_TEST_IMAGE: name the image of workers" in done.stdout
