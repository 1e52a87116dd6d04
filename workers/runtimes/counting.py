"""Any runtime, with the calls that fail counted. Put around it by doors."""

from collections.abc import Callable
from typing import Any, cast

from workers.runtimes.base import Runtime

CALLS = ("start", "observe", "stop", "kill", "salvage", "remove", "quarantine", "hints")


class _Counting:
    def __init__(self, runtime: Runtime, failed: Callable[[str], None]) -> None:
        self.host, self.boot, self.keeps = runtime.host, runtime.boot, runtime.keeps
        self.close = runtime.close
        self._failed = failed
        for call in CALLS:
            setattr(self, call, self._counted(call, getattr(runtime, call)))
        self.names = self._counted("names", lambda: list(runtime.names()))  # an iterator would fail later, uncounted

    def _counted(self, call: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            try:
                return method(*args)
            except Exception:  # whatever it is: the caller deals with it
                self._failed(call)
                raise

        return counted


def counting(runtime: Runtime, failed: Callable[[str], None]) -> Runtime:
    """The same runtime; `failed` is told the name of each call that raises."""
    return cast(Runtime, _Counting(runtime, failed))
