"""A simulator stands alone: what the reference robot imports is what anybody could install."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import simulators.diffdrive

HERE = Path(simulators.diffdrive.__file__).parent
ALLOWED = {*sys.stdlib_module_names, "mujoco", "numpy", "rosbags"}


def imported(path: Path) -> Iterator[str]:
    """The top names of all that a module imports from outside its own folder."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if node.level == 0 else "." * (node.level - 1)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_nothing_of_ours_is_imported(path: Path) -> None:
    assert set(imported(path)) - {""} <= ALLOWED
