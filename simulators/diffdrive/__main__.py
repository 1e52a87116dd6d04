"""`python -m simulators.diffdrive`: reads what Simyard says in the environment, runs, and leaves with
0 when the run ended well (whatever it showed, also after a stop signal) or 2 when it cannot begin."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

NEEDED = ("SIMYARD_PARAMETERS", "SIMYARD_SEED", "SIMYARD_OUTPUT")
HIGHEST_SEED = 2**31 - 1
DIGITS = len(str(HIGHEST_SEED))


class UsageError(ValueError):
    """The environment does not say what to do."""


@dataclass(frozen=True)
class Order:
    """What the environment asks for."""

    parameters: Path
    seed: int
    output: Path


class StopSignal:
    """Remembers a SIGINT or SIGTERM from its making on; call it to ask whether there was one."""

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.note)

    def note(self, number: int, frame: FrameType | None) -> None:
        self.came = True

    def __call__(self) -> bool:
        return self.came


def order() -> Order:
    """The order in the environment; raises UsageError naming what is missing or wrong."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise UsageError(f"not set in the environment: {', '.join(missing)}")
    parameters, seed, output = (os.environ[name] for name in NEEDED)
    if not (seed.isascii() and seed.isdigit() and len(seed) <= DIGITS and int(seed) <= HIGHEST_SEED):
        raise UsageError(f"SIMYARD_SEED: {seed!r} is not a whole number from 0 to {HIGHEST_SEED}")
    return Order(Path(parameters), int(seed), Path(output))


def main() -> int:
    """Run once; returns the exit code."""
    stopped = StopSignal()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start a thread per core only to leave them idle
    from . import parameters, simulation, world  # noqa: PLC0415 - after that, as they load numpy

    try:
        asked = order()
        chosen = parameters.read(asked.parameters)
        prepare(asked.output)
        print(f"diffdrive: seed {asked.seed}, {chosen}", flush=True)
        result = simulation.run(chosen, asked.seed, asked.output, stopped)
    except (UsageError, parameters.ParameterError, world.WorldError) as error:
        return refuse(str(error))
    except FileExistsError as error:
        return refuse(f"SIMYARD_OUTPUT: {error.filename} is there already")
    print(f"diffdrive: {result}")
    return 0


def prepare(output: Path) -> None:
    """Make the folder `output` unless it is there; raises UsageError."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"SIMYARD_OUTPUT: {output} cannot be a folder: {error.strerror}") from error


def refuse(reason: str) -> int:
    """Say why it cannot begin, in one line."""
    print("diffdrive:", " ".join(reason.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
