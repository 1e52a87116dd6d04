"""What Simyard reads while a run goes on and after it: progress.jsonl and result.json. Used by simulation.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

SIMULATED = 1.0  # s of simulated time and
REAL = 0.1  # s of real time between two lines of progress, at least


class Progress:
    """Appends lines to progress.jsonl in `folder`, each readable at once."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "progress.jsonl").open("a", encoding="utf-8", buffering=1)
        self.simulated, self.real = 0.0, monotonic()

    def due(self, sim_time: float) -> bool:
        """Whether enough time has passed since the last line, in both clocks."""
        return sim_time - self.simulated >= SIMULATED and monotonic() - self.real >= REAL

    def tell(self, percent: float, sim_time: float, message: str) -> None:
        """Append one line."""
        line = {"percent": round(percent, 1), "sim_time": round(sim_time, 3), "message": message}
        self.file.write(json.dumps(line) + "\n")
        self.simulated, self.real = sim_time, monotonic()

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True)
class Result:
    """The verdict on a run, and its figures."""

    passed: bool
    metrics: dict[str, float]

    def save(self, folder: Path) -> None:
        """Write result.json into `folder`, by rename: whoever finds it finds all of it."""
        draft = folder / "result.json.tmp"
        draft.write_text(json.dumps({"passed": self.passed, "metrics": self.metrics}) + "\n", "utf-8")
        draft.replace(folder / "result.json")
