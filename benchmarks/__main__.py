"""Measures everything, on stacks of its own, and prints each figure with its limit: `python -m benchmarks [NAME ...]`.
Exit code 1 when something could not be measured; a limit that does not hold is said, and is no error."""

import sys
import tempfile
import traceback
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import (
    admission,
    launches,
    lists,
    pods,
    reading,
    recordings,
    scaling,
    streams,
    submissions,
    transitions,
)
from benchmarks.report import Figure, machine
from tests.stack import Stack

Measured = Callable[[Stack, Path], Iterable[Figure]]

ON_A_STACK: dict[str, Measured] = {
    "launches": launches.measure, "submissions": lambda stack, _: submissions.measure(stack),
    "streams": lambda stack, _: streams.measure(stack), "recordings": recordings.measure}
ON_ONE_ASLEEP: dict[str, Measured] = {  # lists last: it leaves a million jobs behind
    "transitions": lambda stack, _: transitions.measure(stack),
    "admission": lambda stack, _: admission.measure(stack), "lists": lambda stack, _: lists.measure(stack)}
ALONE: dict[str, Callable[[Path], Iterable[Figure]]] = {
    "pods": pods.measure, "reading": reading.measure, "scaling": lambda _: scaling.measure()}


def main() -> int:
    """Prints each figure as it is measured."""
    names = [*ON_A_STACK, *ON_ONE_ASLEEP, *ALONE]
    parser = ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    wanted = parser.parse_args().names or names
    if unknown := set(wanted) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    print(machine(), flush=True)
    figures: list[Figure] = []
    broken = [name for name, measured in _chosen(wanted) if not _show(name, measured, figures)]
    missed = sum(not figure.holds for figure in figures)
    print(f"{len(figures)} figures, {missed} beyond their limit; broken off: {', '.join(broken) or 'nothing'}")
    return 1 if broken else 0


def _chosen(wanted: Sequence[str]) -> Iterator[tuple[str, Iterable[Figure]]]:
    """What is to be measured, each to be gone through before the next is asked for."""
    awake, asleep, alone = ([name for name in group if name in wanted] for group in (ON_A_STACK, ON_ONE_ASLEEP, ALONE))
    if awake or asleep:
        with _folder() as folder, Stack(folder / "stack") as stack:
            for name in awake:
                yield name, ON_A_STACK[name](stack, folder)
            with submissions.workers_asleep(stack):
                for name in asleep:
                    yield name, ON_ONE_ASLEEP[name](stack, folder)
    for name in alone:
        with _folder() as folder:
            yield name, ALONE[name](folder)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="simyard-bench-") as folder:
        yield Path(folder)


def _show(name: str, measured: Iterable[Figure], figures: list[Figure]) -> bool:
    """Whether all of it could be measured."""
    try:
        for figure in measured:
            print(figure, flush=True)
            figures.append(figure)
    except Exception:  # noqa: BLE001 - whatever went wrong with this, the others can be measured
        traceback.print_exc()
        print(f"  {name}: broken off", flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
