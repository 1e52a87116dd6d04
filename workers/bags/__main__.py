"""The caged child: `python -m workers.bags PATH [SECONDS]` prints the facts of one recording. Started by cage.py."""

import json
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from workers.bags import limits


def confine(seconds: float) -> None:
    """Takes away what reading needs not. Nothing of the recording has been read before."""
    whole = int(seconds) + 1
    for kind, limit in (
        (resource.RLIMIT_AS, limits.MEMORY_BYTES),
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_NOFILE, limits.OPEN_FILES),
        (resource.RLIMIT_FSIZE, limits.UNPACKED_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (allowed, allowed))
    # The parent ends us in time; this is for when the parent is gone.
    signal.alarm(whole + 60)
    # Leaving by an exception removes the private folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def examine_here(path: Path, seconds: float) -> str:
    """The facts as JSON of at most ANSWER_BYTES."""
    from workers.bags.facts import facts, rejected  # noqa: PLC0415 what parses bytes is loaded inside the cage
    from workers.bags.problems import Code, Problems  # noqa: PLC0415
    from workers.bags.recordings import recording_at  # noqa: PLC0415

    recording = recording_at(path)
    answer = json.dumps(asdict(facts(recording, seconds=seconds)), allow_nan=False)
    if len(answer) > limits.ANSWER_BYTES:
        problems = Problems()
        problems.add(Code.HOSTILE, f"its facts fill {len(answer)} bytes")
        answer = json.dumps(asdict(rejected(recording, "hostile", problems)), allow_nan=False)
    return answer


if __name__ == "__main__":
    time_allowed = float(sys.argv[2]) if len(sys.argv) > 2 else 3600.0
    confine(time_allowed)
    sys.stdout.write(examine_here(Path(sys.argv[1]), time_allowed) + "\n")
