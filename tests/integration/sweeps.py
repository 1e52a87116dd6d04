"""A sweep whose programs say when they start, and what must be true of it whatever dies meanwhile."""

from collections import Counter
from pathlib import Path

from tests.stack import Stack


def sweep(stack: Stack, starts: Path, count: int = 12) -> str:
    """A simulation whose programs each write a line when they start, and take a moment."""
    script = f"echo $SIMYARD_JOB_ID $SIMYARD_ATTEMPT >>{starts}; sleep 0.5; echo '{{}}' >output/result.json"
    return stack.submit(stack.template("/bin/sh", "-c", script), repeats=count)


def check(stack: Stack, simulation: str, starts: Path, count: int = 12) -> None:
    """All have ended well, and no attempt was ever started twice."""
    instances = stack.ended(simulation, seconds=200)
    assert Counter(instance["state"] for instance in instances) == {"SUCCEEDED": count}
    lines = starts.read_text().splitlines()
    assert max(Counter(lines).values()) == 1
    assert {line.split()[0] for line in lines} == {instance["id"] for instance in instances}
