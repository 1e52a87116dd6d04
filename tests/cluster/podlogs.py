"""The logs of containers, as the API serves the kubelet's files."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.cluster.refusals import bad_request

_BLOCK = 1 << 20


def choose_container(pod: dict[str, Any], asked: str) -> str:
    """The container whose log is meant; 400 when none or an unknown one is, or when it has not begun."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    mains = [container["name"] for container in spec["containers"]]
    inits = [container["name"] for container in spec.get("initContainers", [])]
    if not asked and len(mains) > 1:
        also = f" or one of the init containers: [{' '.join(inits)}]" if inits else ""
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(mains)}]"
                          f"{also}")
    chosen = asked or mains[0]
    if chosen not in mains + inits:
        raise bad_request(f"container {chosen} is not valid for pod {name}")
    if waiting := _waiting_reason(pod, chosen):
        raise bad_request(f'container "{chosen}" in pod "{name}" is waiting to start: {waiting}')
    return chosen


def _waiting_reason(pod: dict[str, Any], container: str) -> str | None:
    status = pod["status"]
    for seen in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if seen["name"] == container and "waiting" in seen["state"] and not seen.get("restartCount"):
            reason: str = seen["state"]["waiting"]["reason"]
            return reason
    return None


def find_start(path: Path | None, rotated_at: int, tail_lines: int | None) -> int:
    """The first byte to serve: of the file that the last rotation began, and of its last lines if so many are asked."""
    if path is None:
        return 0
    size = path.stat().st_size
    first = size // rotated_at * rotated_at
    if tail_lines is None:
        return first
    with path.open("rb") as file:
        file.seek(first)
        lines = file.read(size - first).splitlines(keepends=True)
    return size - sum(map(len, lines[-tail_lines:] if tail_lines else []))


def read(path: Path | None, first: int, limit_bytes: int | None) -> bytes:
    if path is None:
        return b""
    with path.open("rb") as file:
        file.seek(first)
        return file.read(-1 if limit_bytes is None else limit_bytes)


def follow(path: Path | None, first: int, has_ended: Callable[[], bool]) -> Iterator[bytes]:
    """All from `first` until the container has ended, as it is written; nothing now and then, to look around."""
    if path is None:
        return
    with path.open("rb") as file:
        file.seek(first)
        ended = False
        while not ended:
            ended = has_ended()
            while block := file.read(_BLOCK):
                yield block
            if not ended:
                yield b""
                time.sleep(0.01)
