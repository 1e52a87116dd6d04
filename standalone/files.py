"""Files of the data folder: private, and replaced as a whole, so that no reader ever meets half of one."""

import json
import os
from pathlib import Path
from typing import Any

from standalone.failures import StartFailed

PRIVATE = 0o600


def replace(path: Path, content: str | bytes) -> None:
    """Make this the content of the file, which only its owner may read."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def replace_json(path: Path, value: Any) -> None:
    """The same, as JSON on one line."""
    replace(path, json.dumps(value) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; an empty one when there is no file. StartFailed when it is something else."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise StartFailed(str(path), "it is not a JSON object", "restore it, or choose another --data")
    return value
