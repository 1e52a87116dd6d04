"""The program beside a simulator: `python -m workers.recorder CONTROL`. While the simulator runs it tells its progress
and log and holds it to its memory and disk; after its end (stdin closes) it uploads what was recorded and says what it
is. Started by the shim; by salvage on what a dead recorder left (`… salvage`); or as the sidecar of a pod, where it
stays until it is told to end (`… pod GRANT`). Imports little, for every attempt starts one.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.guards import Guard, PodGuard
from workers.harvest import collect
from workers.uplink import Failed, Over, Refused, Uplink, grant_of
from workers.words import Log, last_progress

LOOK_SECONDS = 0.2
REPORT_SECONDS = 1.0
BESIDE_SECONDS = 5.0  # past their grace, in which the kernel ends what is beside a pod's main program
LONGEST_PAUSE_SECONDS = 5.0
LAST_TRIES = 5


class Stdin:
    """The end of the program beside us on one machine: stdin closes."""

    def wait(self, seconds: float) -> bool:
        """Whether it came within this time."""
        return bool(select.select([sys.stdin], [], [], seconds)[0])

    def wait_for_others(self) -> None:
        """There are none."""


class Sidecar:
    """The end of the program beside us in a pod: its first process leaves a status, or the kubelet tells us to end,
    which it does once all programs have. Until then we stay: one that exits may not be started again."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._heard = False
        self.beside: list[str] = []  # containers that leave a status as well
        self.beside_seconds = 0.0
        signal.signal(signal.SIGTERM, self._hear)
        # The kubelet's hook makes this file as soon as the pod is to end, long before it signals: where it is there, a
        # signal may have come while we were deaf, or be yet to come, once all programs have ended.
        self._may_have_been_told = (control / "leave").exists()
        self._begun = time.monotonic()

    def _hear(self, *_: Any) -> None:
        self._heard = True

    @property
    def _told(self) -> bool:
        """Whether we are to end; if that may have been said before we listened, once programs have had their time."""
        return self._heard or (self._may_have_been_told and time.monotonic() >= self._begun + self.beside_seconds)

    def wait(self, seconds: float) -> bool:
        """Whether it came, looked at after this time or sooner."""
        if not self._told:
            time.sleep(seconds)
        return self._told or (self._control / "status").exists()

    def wait_for_others(self) -> None:
        """Until those beside the program have ended as well, who are stopped with it and may still write what they
        recorded; no longer than they are given."""
        over, running = time.monotonic() + self.beside_seconds, set(self.beside)
        while running and not self._told and time.monotonic() < over:
            running -= {name for name in running if (self._control / f"{name}.status").exists()}
            time.sleep(LOOK_SECONDS if running else 0)

    def persist(self, deed: Callable[[], None]) -> None:
        """Do it until nothing goes wrong that nobody foresaw; once we are told to end, a few times more."""
        left, pause = LAST_TRIES, LOOK_SECONDS
        while left:
            try:
                deed()
                return
            except Exception:  # noqa: BLE001 - whatever it is: nobody else would do it
                traceback.print_exc()
            left -= self._told
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def stay(self) -> None:
        """Until we are told to end, or may have been, for by now all has."""
        while not (self._told or self._may_have_been_told):
            time.sleep(LOOK_SECONDS)


def watch(control: Path, uplink: Uplink, guard: Guard | PodGuard, log: Log, end: Stdin | Sidecar) -> None:
    """Stand by while the program runs."""
    told: dict[str, Any] | None = None
    next_report = time.monotonic() + REPORT_SECONDS
    while not end.wait(LOOK_SECONDS):
        guard.look()
        if time.monotonic() < next_report:
            continue
        next_report = time.monotonic() + REPORT_SECONDS
        progress, chunk = last_progress(control.parent / "output"), log.chunk()
        if progress == told and chunk is None:
            continue
        try:
            log.told(uplink.report({"progress": progress if progress != told else None, "log": chunk})["log_end"])
            told = progress
        except (Failed, Refused) as error:
            print(f"web was not told: {error}", file=sys.stderr, flush=True)
    end.wait_for_others()


def tell(uplink: Uplink, facts: dict[str, Any]) -> None:
    """Tell what was found, as far as web will have it: if need be without the simulator's own words, and in the end
    without all but how long its log is."""
    wordless = facts | {"result": {}, "progress": None, "problems": ["its verdict cannot be told"]}
    bare = {"log": facts["log"] | {"tail": ""}, "problems": ["what was found cannot be told"]}
    for said in (facts, wordless):
        try:
            uplink.put_facts(said)
            return
        except Refused as refused:
            print(f"less is told: {refused}", file=sys.stderr, flush=True)
    uplink.put_facts(bare)


def work(control: Path, uplink: Uplink, guard: Guard | PodGuard, end: Stdin | Sidecar | None) -> None:
    """Stand by until the end (None: long past), collect, tell; leave `recorded` behind when it was heard."""
    log = Log(control / "log")
    try:
        if end is not None:
            watch(control, uplink, guard, log, end)
            guard.end_session()
        tell(uplink, collect(control, uplink, guard, log))
        (control / "recorded").touch()
    except Over as over:
        print(f"nobody waits for this attempt any more: {over}", file=sys.stderr)


def work_in_pod(control: Path, grant_file: str | None, sidecar: Sidecar) -> None:
    """The same in a pod. May be repeated: what is past is found to be."""
    control.mkdir(exist_ok=True)
    grant = grant_of(control, grant_file)
    sidecar.beside, sidecar.beside_seconds = grant["beside"], grant["grace_seconds"] + BESIDE_SECONDS
    work(control, Uplink(grant), PodGuard(control, grant), sidecar)


def main(control: Path, mode: str = "beside", grant_file: str | None = None) -> None:
    """When it salvages, the program is long gone and its session's number may be somebody else's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the program
    if mode == "pod":
        sidecar = Sidecar(control)
        os.umask(0o007)  # control belongs to the program's user too
        sidecar.persist(lambda: work_in_pod(control, grant_file, sidecar))
        sidecar.stay()
    else:
        grant = grant_of(control)
        work(control, Uplink(grant), Guard(control, grant), Stdin() if mode == "beside" else None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
