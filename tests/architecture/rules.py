"""The rules of the house that import-linter cannot see, as functions of a source tree: each returns its violations."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("shared", "webapp", "workers", "client", "standalone", "simulators")
STATE_WRITERS = {"shared/lifecycle.py", "shared/persistence/transitions.py", "shared/persistence/retrying.py",
                 "shared/persistence/numbering.py"}
ENVIRONMENT_READERS = {"shared/settings.py"}
ENVIRONMENT_FREE = ("shared", "webapp", "workers")
_SQL_STATE = re.compile(r"\bUPDATE\s+(jobs|simulations)\b|\bINSERT\s+INTO\s+(jobs|simulations|events)\b", re.IGNORECASE)
_STATE_TABLES = {"jobs", "simulations", "events"}
_NAMELESS = {"utils", "helpers", "common", "misc", "manager", "handler", "handlers", "service"}


def sources(root: Path, packages: tuple[str, ...] = PACKAGES) -> Iterator[tuple[str, ast.Module]]:
    """Every module of the product: its path from the root, and its syntax tree."""
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), _parsed(path.read_text())


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def writers_of_state(root: Path) -> list[str]:
    """Places other than the writers that could assign a state: raw SQL on the tables that have one, or a statement
    on them that names the column."""
    return [f"{path}:{node.lineno}" for path, tree in sources(root) if path not in STATE_WRITERS
            for node in ast.walk(tree) if _writes_state(node)]


def _writes_state(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(_SQL_STATE.search(node.value))
    if not isinstance(node, ast.Call):
        return False
    verb = node.func.id if isinstance(node.func, ast.Name) else None
    if verb == "insert" and node.args and _table(node.args[0]) in _STATE_TABLES:
        return True
    if isinstance(node.func, ast.Attribute) and node.func.attr == "values" and _updates_state_table(node.func.value):
        named = {keyword.arg for keyword in node.keywords}
        given = {key.value for arg in node.args if isinstance(arg, ast.Dict)
                 for key in arg.keys if isinstance(key, ast.Constant)}
        unknown = None in named or any(not isinstance(arg, ast.Dict) for arg in node.args)
        return unknown or bool({"state", "outcome", "counts"} & (named | given))
    return False


def _updates_state_table(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "update"
               and part.args and _table(part.args[0]) in _STATE_TABLES for part in ast.walk(node))


def _table(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def readers_of_environment(root: Path) -> list[str]:
    """Places other than settings that read the environment, in what runs as a service."""
    return [f"{path}:{node.lineno}" for path, tree in sources(root, ENVIRONMENT_FREE)
            if path not in ENVIRONMENT_READERS for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
            and isinstance(node.value, ast.Name) and node.value.id == "os"]


def silent_handlers(root: Path) -> list[str]:
    """Bare excepts, and broad ones that do not carry their reason in a comment."""
    found = []
    for path, tree in sources(root):
        lines = (root / path).read_text().splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or (
                    isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
                    and "#" not in lines[node.lineno - 1] and not _raises(node))):
                found.append(f"{path}:{node.lineno}")
    return found


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in handler.body)


def modules_without_a_word(root: Path) -> list[str]:
    """Modules that do not open with a docstring of one to five lines, or whose name names nothing."""
    found = []
    for path, tree in sources(root):
        said = ast.get_docstring(tree)
        if said is None or len(said.splitlines()) > 12 or Path(path).stem in _NAMELESS:
            found.append(path)
    return found


def long_rooms(root: Path) -> list[str]:
    """Modules past 400 lines and functions past 40."""
    found = [path for path, _ in sources(root) if (root / path).read_text().count("\n") > 400]
    for path, tree in sources(root):
        found += [f"{path}:{node.name}" for node in ast.walk(tree)
                  if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 40]
    return found


def long_tasks(root: Path) -> list[str]:
    """Celery tasks whose body is more than naming what to log and one call."""
    tree = ast.parse((root / "workers/tasks.py").read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)
            and sum(isinstance(part, ast.Expr | ast.Assign | ast.Return) for part in ast.walk(node)) > 2]
