"""The workflows are sound, name what exists, and take actions by commit."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.rendering import DEPLOYMENTS, ROOT, containers, pods, rendered

FOLDER = ROOT / ".github/workflows"
NAMES = {"test.yml": "Test", "build.yml": "Build images", "deploy.yml": "Deploy to Kubernetes"}
BIN = Path(sys.executable).parent


def workflow(file: str) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((FOLDER / file).read_text())
    return loaded


def steps(file: str) -> list[dict[str, Any]]:
    [job] = workflow(file)["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def commands(file: str) -> str:
    return "\n".join(step["run"] for step in steps(file) if "run" in step)


def test_there_is_one_for_each_purpose() -> None:
    """S2-8."""
    assert {file.name: workflow(file.name)["name"] for file in FOLDER.iterdir()} == NAMES
    for name in NAMES:
        assert "main" in workflow(name)[True]["push"]["branches"]  # `on` is true in YAML 1.1


def test_they_are_workflows_and_safe_ones() -> None:
    files = sorted(FOLDER.iterdir())
    for command in ([BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files],
                    [BIN / "zizmor", "--offline", "--no-progress", *files]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", NAMES)
def test_actions_are_pinned_by_commit(file: str) -> None:
    uses = re.findall(r"uses: (.*)", (FOLDER / file).read_text())
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)
    assert workflow(file)["permissions"] == {"contents": "read"}


def test_the_suite_runs_on_the_oldest_and_a_new_python() -> None:
    """S0-15."""
    [job] = workflow("test.yml")["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    targets = set(re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text()))
    named = re.findall(r"make (\w+)", commands("test.yml"))
    assert named == ["install", "check", "promtool", "test", "audit"]
    assert set(named) <= targets


def test_images_are_built_listed_signed_and_pushed_by_commit() -> None:
    """S2-8, S3-15."""
    [job] = workflow("build.yml")["jobs"].values()
    images = {each["image"]: each["file"] for each in job["strategy"]["matrix"]["include"]}
    assert images == {"robot-sim-backend": "Dockerfile.web", "robot-sim-worker": "Dockerfile.worker",
                      "robot-sim-reference": "Dockerfile.simulator"}
    assert all((ROOT / file).is_file() for file in images.values())
    names = [step["name"] for step in steps("build.yml")]
    assert names[-4:] == ["Build and push", "SBOM", "Cosign", "Sign"]
    by_name = {step["name"]: step for step in steps("build.yml")}
    assert by_name["Build and push"]["with"]["tags"].endswith(":${{ github.sha }}")
    assert by_name["SBOM"]["with"]["format"] == "cyclonedx-json"
    assert "outputs.digest" in by_name["Sign"]["env"]["IMAGE"]
    assert job["permissions"] == {"contents": "read", "packages": "write", "id-token": "write"}
    assert "ghcr.io/" in commands("build.yml")
    assert re.findall(r"cosign (\w+)", commands("build.yml")) == ["sign", "attest"]


def test_a_push_deploys_in_the_seeds_steps() -> None:
    """S0-72, S3-15."""
    order = ["docker build --file Dockerfile.web --tag \"robot-sim-backend:$GITHUB_SHA\" .",
             "docker tag \"robot-sim-backend:$GITHUB_SHA\" \"$BACKEND\"", "docker push \"$BACKEND\"",
             "kubectl set image deployment/robot-backend", "kubectl rollout status deployment/robot-backend -n robot",
             "deployment/robot-worker", "kubectl rollout status \"deployment/robot-$name\" -n robot"]
    text = commands("deploy.yml")
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    assert steps("deploy.yml")[0]["name"] == "Checkout"
    assert workflow("deploy.yml")["env"] == {
        "BACKEND": "${{ vars.REGISTRY }}/robot-sim-backend:${{ github.sha }}",
        "WORKER": "${{ vars.REGISTRY }}/robot-sim-worker:${{ github.sha }}"}


def test_what_it_sets_exists_and_is_all_that_runs_an_image_of_ours() -> None:
    text = commands("deploy.yml")
    named = {f"robot-{name}" for names in re.findall(r"for name in (.*); do", text) for name in names.split()}
    assert named | {"robot-backend"} == DEPLOYMENTS
    objects = rendered("overlays/prod")
    assert {each["name"] for each in containers(pods(objects)["robot-backend"])} == set(
        re.findall(r"([\w-]+)=\"\$BACKEND\"", text))
    for name in named:
        assert [each["name"] for each in containers(pods(objects)[name])] == [name]
    assert "RECORDER_IMAGE" in objects["ConfigMap", "robot", "robot-config"]["data"]
