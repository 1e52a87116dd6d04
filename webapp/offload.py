"""Runs computations off the event loop. Used for argon2 and large sweeps, which would stall every other request."""

import os
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

from gevent import monkey
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
R = TypeVar("R")


def run(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function`'s result, computed in a real thread when gevent rules this process, at most one for each core."""
    if not monkey.is_module_patched("threading"):
        return function(*args, **kwargs)

    def guarded() -> tuple[R, None] | tuple[None, Exception]:
        try:
            return function(*args, **kwargs), None
        except Exception as error:  # noqa: BLE001 - carried over and raised below; the pool would print it besides
            return None, error

    outcome: tuple[R, None] | tuple[None, Exception] = _pool().apply(guarded)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


@cache
def _pool() -> ThreadPool:
    return ThreadPool(os.cpu_count() or 1)
