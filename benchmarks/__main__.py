"""Measures everything on one stack of its own and prints it; exit code 1 when a limit does not hold."""

import sys
import tempfile
from pathlib import Path

from benchmarks import admission, launches, lists, reading, recordings, streams, submissions, transitions
from benchmarks.report import Figure, machine
from tests.stack import Stack


def main() -> int:
    """Prints each figure as it is measured."""
    print(machine(), flush=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="simyard-bench-") as folder, Stack(Path(folder) / "stack") as stack:
        for measured in (launches.measure(stack, Path(folder)), submissions.measure(stack),
                         streams.measure(stack), recordings.measure(stack, Path(folder))):
            for figure in measured:
                print(figure, flush=True)
                figures.append(figure)
        with submissions.workers_asleep(stack):
            for measured in (transitions.measure(stack), admission.measure(stack), lists.measure(stack)):
                for figure in measured:
                    print(figure, flush=True)
                    figures.append(figure)
    with tempfile.TemporaryDirectory(prefix="simyard-bench-") as folder:
        for figure in reading.measure(Path(folder)):
            print(figure, flush=True)
            figures.append(figure)
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
