"""Waits for what another process does, without asserting how long that takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], *, seconds: float = 60) -> T:
    """The first true answer of `look`; fails when there is none for a time no healthy machine needs."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain, last saw {answer!r}"
        time.sleep(0.02)
    return answer
