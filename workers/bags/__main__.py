"""The caged child: `python -m workers.bags PATH [SECONDS [PARENT [INDEX]]]` prints the facts of one recording, writes
its index to the file INDEX, and ends with the process PARENT. Started by cage.py.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from workers.bags import limits

if TYPE_CHECKING:
    from workers.bags.recordings import Recording
    from workers.bags.shapes import Facts


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
        # Past the soft limit of CPU comes SIGXCPU, which tells it from a SIGKILL by somebody else.
        most = allowed if kind != resource.RLIMIT_CPU or hard == allowed else allowed + 1
        resource.setrlimit(kind, (allowed, most))
    # The parent ends us in time; this is for when the parent is gone.
    signal.alarm(whole + 60)
    # Leaving by an exception removes the private folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def end_with(parent: int) -> None:
    """Be killed when the thread that started us ends (prctl(2), PR_SET_PDEATHSIG); at once when it has already."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def examine_here(path: Path, seconds: float, index: Path | None = None) -> str:
    """The facts as JSON of at most ANSWER_BYTES. With `index`, what can be read in parts is indexed there."""
    from workers.bags.facts import facts, rejected  # noqa: PLC0415 what parses bytes is loaded inside the cage
    from workers.bags.problems import Code, Problems  # noqa: PLC0415
    from workers.bags.recordings import recording_at  # noqa: PLC0415

    deadline = time.monotonic() + seconds
    recording = recording_at(path)
    found = facts(recording, seconds=seconds)
    answer = json.dumps(asdict(found), allow_nan=False)
    if index and found.state != "REJECTED" and len(answer) <= limits.ANSWER_BYTES:
        _index(recording, found, index, deadline)
    if len(answer) > limits.ANSWER_BYTES:
        problems = Problems()
        problems.add(Code.HOSTILE, f"its facts fill {len(answer)} bytes")
        answer = json.dumps(asdict(rejected(recording, "hostile", problems)), allow_nan=False)
    return answer


def _index(recording: "Recording", found: "Facts", target: Path, deadline: float) -> None:
    """Writes the index; none where the recording allows of none, for its facts are worth more."""
    from workers.bags.files import Workspace  # noqa: PLC0415
    from workers.bags.index_blocks import TooScattered  # noqa: PLC0415
    from workers.bags.index_codec import TooLarge  # noqa: PLC0415
    from workers.bags.indexing import write_index  # noqa: PLC0415
    from workers.bags.problems import Hostile, NotARecording  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="simyard-bag-") as folder:
        try:
            write_index(recording, found, target, Workspace(Path(folder), deadline))
        except (Hostile, NotARecording, TooLarge, TooScattered, MemoryError) as error:
            print(f"no index: {type(error).__name__} {error}", file=sys.stderr)


if __name__ == "__main__":
    time_allowed = float(sys.argv[2]) if len(sys.argv) > 2 else 3600.0
    if len(sys.argv) > 3:
        end_with(int(sys.argv[3]))
    confine(time_allowed)
    index_file = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    sys.stdout.write(examine_here(Path(sys.argv[1]), time_allowed, index_file) + "\n")
