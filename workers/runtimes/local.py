"""The runtime of one machine: an attempt is a folder and the processes of its shim. Truth is what the folder's files
and lock say; made by each worker and the watcher on that machine.

A program is seen as running while the shim's lock is held and no exit status is written. The lock is an open file
description lock (fcntl(2), F_OFD_SETLK): it outlives whoever took it and ends with the last process that inherited it.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from inotify_simple import INotify, flags

from shared.domain.errors import Unavailable
from shared.domain.states import Kind, Reason
from workers.folders import open_folders
from workers.runtimes import locks, processes
from workers.runtimes.base import Name, Observation, Recorder, Run, Seen

SHIM = Path(__file__).with_name("shim.sh")
ROS_DOMAINS = range(1, 102)
BLANK = " " * 31 + "\n"
NEVER_STARTED = "never_started"
KILL_ROUNDS = 5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class LocalLaunch:
    """A shim that waits for its go."""

    def __init__(self, pipe: int, shim: subprocess.Popen[bytes]) -> None:
        self._pipe: int | None = pipe
        self._shim = shim

    def go(self) -> None:
        """Let the program run."""
        if self._pipe is not None:
            os.write(self._pipe, b"go\n" * 2)  # read twice by the shim
            self._close()

    def abandon(self) -> None:
        """Let the shim end without having run anything. After go() it changes nothing."""
        if self._pipe is not None:
            self._close()
            self._shim.wait()

    def _close(self) -> None:
        pipe, self._pipe = self._pipe, None
        _close(pipe)


class LocalRuntime:
    """Attempts below `base`/attempts. `recorder_address`: where recorders find web, {"url"} or {"endpoints": path};
    `environment`: what programs get besides their own variables; `player_host`: the address or name of this machine
    that players listen on."""

    keeps = True

    def __init__(self, base: Path, recorder_address: dict[str, str], environment: Mapping[str, str],
                 player_host: str = "127.0.0.1") -> None:
        try:
            self.host = _identity(base / "host")
        except OSError as error:
            raise Unavailable(f"{base} cannot be used: {error}", code="runtime_unavailable",
                              remedy="see that STORAGE_BASE_DIR is a writable folder with free space") from error
        self.boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._address = recorder_address
        self._inherited = dict(environment)
        self._player_host = player_host
        self._attempts = base / "attempts"
        self._hints = base / "hints"
        self._domains = base / "domains"
        self._quarantine = base / "quarantine"
        self._children: list[subprocess.Popen[bytes]] = []  # shims that we started and have not reaped

    # -- starting ------------------------------------------------------------------------------------------------

    def start(self, run: Run) -> LocalLaunch | None:
        """See Runtime. Raises Unavailable when the folder cannot be made or every ROS domain is taken."""
        try:
            return self._start(run)
        except OSError as error:
            raise Unavailable(f"attempt {run.name} could not be made ready: {error}", code="runtime_unavailable",
                              remedy="see that STORAGE_BASE_DIR is writable and has free space") from error

    def _start(self, run: Run) -> LocalLaunch | None:
        self._reap()
        control = self._control(run.name)
        for folder in (self._hints, self._domains, self._folder(run.name), control, self._inside(run.name, "output"),
                       self._inside(run.name, "inputs")):
            _make(folder)
        lock = locks.lock(control / "lock")
        if lock is None or _read(control / "status").strip() not in ("", NEVER_STARTED):
            _close(lock)
            return None
        domain, number = self._take_domain()
        try:
            self._write_files(run, control)
            return self._spawn(run, control, lock, domain, number)
        finally:
            _close(lock)
            _close(domain)

    def _write_files(self, run: Run, control: Path) -> None:
        _write(self._inside(run.name, "parameters.json"), json.dumps(run.parameters))
        # Room for what must be written even when the disk is full.
        _write(control / "status", BLANK)
        _write(control / "limit", " " * 1023 + "\n")
        if run.program.inputs:  # tells the shim to have them brought
            _write(control / "inputs", "")
        self._write_grant(run, control)

    def _write_grant(self, run: Run, control: Path) -> None:
        """What the recorder may know: where web is, its token, and the limits it holds the program to."""
        grant = {"job": str(run.name.job), "attempt": run.name.attempt, "kind": run.kind, "token": run.token,
                 "address": self._address,
                 "memory_mb": run.program.resources.memory_mb, "disk_mb": run.program.resources.disk_mb}
        part = control / "grant.part"
        _write(part, json.dumps(grant), mode=0o600)
        part.rename(control / "grant.json")

    def _spawn(self, run: Run, control: Path, lock: int, domain: int, number: int) -> LocalLaunch:
        told = (str(control / "grant.json"), self._player_host) if run.kind == Kind.PLAYBACK else ()
        command = (*run.program.command, *told)
        waiting, go = os.pipe()
        try:
            with _nothing_ignored():
                shim = subprocess.Popen(
                    ["/bin/sh", SHIM, control, self._hints / str(run.name), sys.executable, *command],
                    stdin=waiting, stdout=lock, stderr=domain, env=self._environment(run, number),
                    cwd=control.parent, start_new_session=True)
        except OSError:
            os.close(go)
            raise
        finally:
            os.close(waiting)
        self._children.append(shim)
        return LocalLaunch(go, shim)

    def _environment(self, run: Run, domain: int) -> dict[str, str]:
        return self._inherited | run.program.env | {
            "SIMYARD_JOB_ID": str(run.name.job),
            "SIMYARD_ATTEMPT": str(run.name.attempt),
            "SIMYARD_SEED": str(run.seed),
            "SIMYARD_PARAMETERS": str(self._inside(run.name, "parameters.json")),
            "SIMYARD_OUTPUT": str(self._inside(run.name, "output")),
            "SIMYARD_INPUTS": str(self._inside(run.name, "inputs")),
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }

    def _take_domain(self) -> tuple[int, int]:
        """A ROS domain that no running program of this folder has: its lock, and its number."""
        for number in ROS_DOMAINS:
            lock = locks.lock(self._domains / str(number))
            if lock is not None:
                return lock, number
        raise OSError(f"all {len(ROS_DOMAINS)} ROS domains are in use; lower MAX_RUNNING_INSTANCES")

    # -- seeing --------------------------------------------------------------------------------------------------

    def observe(self, name: Name) -> Observation:
        """See Runtime."""
        control = self._control(name)
        # Asked in this order: a status that is written between the two looks is found by the second.
        alive = locks.is_locked(control / "lock")
        status = _read(control / "status").strip()
        if status == NEVER_STARTED:
            return Observation(Seen.ABSENT, never_started=True)
        if status:
            return self._ended(control, status, alive)
        if alive:
            return Observation(Seen.RUNNING if (control / "main.pid").exists() else Seen.STARTING,
                               recorder=Recorder.WORKING, progress_age=_age(control.parent / "output/progress.jsonl"))
        return Observation(Seen.ABSENT)

    @staticmethod
    def _ended(control: Path, status: str, alive: bool) -> Observation:
        recorder = Recorder.DONE if (control / "recorded").exists() else Recorder.WORKING if alive else Recorder.DEAD
        try:  # these lie within the program's reach
            limit = json.loads(_read(control / "limit").strip() or "{}")
            reason = Reason(limit["reason"]) if limit else None
            return Observation(Seen.ENDED, exit_code=int(status), reason=reason,
                               message=str(limit["message"])[:500] if limit else None, recorder=recorder)
        except (ValueError, TypeError, KeyError):
            return Observation(Seen.ENDED, reason=Reason.RUNTIME_ERROR, recorder=recorder,
                               message="the files that say how it ended cannot be read")

    def names(self) -> Iterator[Name]:
        """See Runtime."""
        if self._attempts.is_dir():
            for folder in os.listdir(self._attempts):
                name = Name.parse(folder)
                if name is not None:
                    yield name

    def hints(self, timeout_seconds: float) -> set[Name]:
        """See Runtime. A hint is a file that a shim touched; what was touched while nobody listened is found too."""
        self._hints.mkdir(parents=True, exist_ok=True, mode=0o750)
        with INotify() as inotify:
            inotify.add_watch(self._hints, flags.CLOSE_WRITE)
            if not any(self._hints.iterdir()):
                inotify.read(timeout=timeout_seconds * 1000)
        return self._take_hints()

    def _take_hints(self) -> set[Name]:
        found = set()
        for file in os.listdir(self._hints):
            (self._hints / file).unlink(missing_ok=True)  # before looking: what comes after is a new hint
            if name := Name.parse(file):
                found.add(name)
        return found

    def close(self) -> None:
        """See Runtime. Nothing listens between two calls."""

    # -- ending --------------------------------------------------------------------------------------------------

    def stop(self, name: Name, signal_number: int) -> bool:
        """See Runtime."""
        leader = self._leader(name)
        if leader is None:
            return False
        try:
            os.killpg(leader, signal_number)
        except ProcessLookupError:  # between its fork and its own session
            return False
        return True

    def _leader(self, name: Name) -> int | None:
        """The program's first process while it certainly is that: its shim waits for it and has not reaped it."""
        control = self._control(name)
        if not locks.is_locked(control / "lock") or _read(control / "status").strip():
            return None
        try:
            return int(_read(control / "main.pid"))
        except ValueError:
            return None

    def kill(self, name: Name) -> None:
        """See Runtime. Looks again until nothing is found: a process may fork while we look."""
        leader = self._leader(name)  # asked before the shim that vouches for it is gone
        for _ in range(KILL_ROUNDS):
            found = processes.carrying(os.fsencode(self._control(name)), self._marks(name))
            found += processes.in_session(leader) if leader is not None else []
            if not found:
                return
            processes.kill(found)
            _wait_until_gone(found)
        raise Unavailable(f"processes {found} of {name} do not end", code="runtime_unavailable")

    def salvage(self, run: Run) -> bool:
        """See Runtime."""
        control = self._control(run.name)
        if not control.is_dir():
            return False
        self.kill(run.name)
        lock = locks.lock(control / "lock")
        if lock is None:
            return True
        try:
            self._write_grant(run, control)
            self._hints.mkdir(parents=True, exist_ok=True, mode=0o750)
            hint = self._hints / str(run.name)
            self._children.append(subprocess.Popen(
                ["/bin/sh", "-c", '"$1" -P -m workers.recorder "$2" salvage 2>>"$2/recorder.log"; : >"$3"', "salvage",
                 sys.executable, control, hint],
                stdin=subprocess.DEVNULL, stdout=lock, env={"LANG": "C.UTF-8"}, cwd="/",
                start_new_session=True))
        finally:
            _close(lock)
        return True

    def remove(self, name: Name) -> None:
        """See Runtime."""
        self.kill(name)
        self._reap()
        open_folders(self._folder(name))
        with suppress(RecursionError):  # a folder deeper than Python's stack
            shutil.rmtree(self._folder(name), ignore_errors=True)
        if self._folder(name).exists():
            subprocess.run(["/bin/rm", "-rf", self._folder(name)], check=False, capture_output=True)

    def quarantine(self, name: Name) -> None:
        """See Runtime."""
        self._quarantine.mkdir(parents=True, exist_ok=True, mode=0o750)
        with suppress(FileNotFoundError):
            self._folder(name).rename(self._quarantine / str(name))

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    # -- places --------------------------------------------------------------------------------------------------

    def _folder(self, name: Name) -> Path:
        return self._attempts / str(name)

    def _inside(self, name: Name, part: str) -> Path:
        return self._folder(name) / part

    def _control(self, name: Name) -> Path:
        return self._inside(name, ".simyard")

    @staticmethod
    def _marks(name: Name) -> frozenset[bytes]:
        return frozenset({b"SIMYARD_JOB_ID=" + str(name.job).encode(), b"SIMYARD_ATTEMPT=%d" % name.attempt})


@contextmanager
def _nothing_ignored() -> Iterator[None]:
    """Stop signals that we ignore are caught and dropped instead: what is ignored stays so across exec, and a program
    started by a Celery child, which ignores SIGINT, would be deaf to it."""
    ignored = [number for number in STOP_SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _make(folder: Path) -> None:
    """Make a folder unless it is there; one call where the one above it is there, as nearly always."""
    try:
        os.mkdir(folder, 0o750)  # noqa: PTH102 - a start waits for this
    except FileExistsError:
        pass
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)


def _write(path: Path, text: str, mode: int = 0o666) -> None:
    """Make the file with this text, readable by whom `mode` and the umask say from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(text.encode())


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _age(path: Path) -> float | None:
    """Seconds since the file was written last, None when there is none."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return None


def _identity(path: Path) -> str:
    """The name of the machine that this folder is: made once, for a host's own name may change under it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with suppress(FileExistsError), path.open("x") as file:
        file.write(f"{socket.gethostname()}-{uuid4().hex}")
    return path.read_text()


def _wait_until_gone(pids: list[int]) -> None:
    """Wait for killed processes to end; each is waited for through a pidfd, which no later process can take over."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([descriptor], [], [], 2)
        finally:
            os.close(descriptor)


def address_from(endpoints: Path | None, url: str) -> dict[str, Any]:
    """Where recorders find web: a file that is read again at each try, or one URL."""
    return {"url": url} if endpoints is None else {"endpoints": str(endpoints)}
