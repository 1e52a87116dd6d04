"""Dockerfiles as lists of stages and instructions, and the modules that the folders which they copy import."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.k8s.rendering import ROOT

FILES = {"web": "Dockerfile.web", "worker": "Dockerfile.worker", "simulator": "Dockerfile.simulator"}
OURS = frozenset({"client", "migrations", "shared", "simulators", "standalone", "webapp", "workers"})


@dataclass
class Stage:
    """One FROM: what it begins with, its name, and its instructions."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def of(self, word: str) -> list[str]:
        return [rest for kind, rest in self.instructions if kind == word]


def read(image: str) -> tuple[dict[str, str], list[Stage]]:
    """The ARGs before the first FROM, and the stages."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / FILES[image]).read_text())
    lines = [line.strip() for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif not stages:
            arguments.update([rest.split("=", 1)])
        else:
            stages[-1].instructions.append((word, re.sub(r"\s+", " ", rest)))
    return arguments, stages


def final(image: str) -> list[tuple[str, str]]:
    """The instructions of the stage that is built by default, after those of the stages that it stands on."""
    _, stages = read(image)
    by_name = {stage.name: stage for stage in stages}
    chain = [stages[-1]]
    while chain[0].base in by_name:
        chain.insert(0, by_name[chain[0].base])
    return [each for stage in chain for each in stage.instructions]


def copied(image: str) -> set[str]:
    """What the stages copy out of the tree, into those that the default one takes from."""
    _, stages = read(image)
    wanted = [stage for stage in stages if stage.name == "build"]
    return {source for stage in wanted for copy in stage.of("COPY") for source in copy.split()[:-1]}


def requirements(lock: Path) -> dict[str, set[str]]:
    """The pinned versions of each package of a lock."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([a-z0-9.-]+)==(\S+)", lock.read_text()):
        found.setdefault(name, set()).add(version)
    return found


def imported(folders: Iterable[Path]) -> dict[str, set[Path]]:
    """The top-level modules of others that Python files below the folders import, and where."""
    found: dict[str, set[Path]] = {}
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for name in _names(ast.parse(file.read_text())):
            if name not in sys.stdlib_module_names:
                found.setdefault(name, set()).add(file)
    return found


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


def missing(folders: Iterable[Path], copied_packages: Iterable[str], locked: Iterable[str]) -> set[str]:
    """Modules that are imported and neither copied nor of a locked package."""
    distributions = packages_distributions()
    held = {re.sub(r"[-_.]+", "-", name).lower() for name in locked}
    return {module for module in imported(folders) if module not in copied_packages and not (
        held & {re.sub(r"[-_.]+", "-", name).lower() for name in distributions.get(module, [])})}
