"""A program of its own, without imports from here: starts containers as the kernel would. Each container gets a parent
that adopts whatever its processes leave behind, and kills all of it when the first process ends, when it is told to, or
when whoever ordered it goes away. Started by spawner.py, which speaks with it in lines of JSON."""

import ctypes
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def serve(orders: socket.socket) -> None:
    """Fork a supervisor for each descriptor that arrives, until the other side is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):  # a Ctrl-C is for the tests; what follows from it comes as the end
        signal.signal(number, signal.SIG_IGN)
    while True:
        data, descriptors, _, _ = socket.recv_fds(orders, 1, 1)
        if not data:
            return
        if os.fork() == 0:
            orders.close()
            _supervise(socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])


def _supervise(link: socket.socket) -> NoReturn:
    """Run what the first line of the link orders, and tell of its start and its end."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.setsid()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    lines = link.makefile("r")
    order = json.loads(lines.readline())
    main = _start(order)
    if isinstance(main, str):
        _tell(link, {"failed": main})
    else:
        _tell(link, {"pid": main})
        _tell(link, {"exit": _follow(link, read_end, main)})
    os._exit(0)


def _tell(link: socket.socket, message: dict[str, Any]) -> None:
    try:
        link.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        os._exit(0)


def _start(order: dict[str, Any]) -> int | str:
    """The pid of the container's first process, or why there is none."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(order, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        failure = file.read()
    if failure:
        os.waitpid(pid, 0)
    return failure or pid


def _become(order: dict[str, Any], failure: int) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # it may kill whoever runs it
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(order["cwd"])
        os.execvpe(order["argv"][0], order["argv"], order["env"])
    except FileNotFoundError:
        os.write(failure, f'exec: "{order["argv"][0]}": executable file not found in $PATH'.encode())
    except (OSError, ValueError) as error:
        os.write(failure, f"exec {order['argv'][0]}: {error}".encode())
    os._exit(127)


def _follow(link: socket.socket, wakeups: int, main: int) -> int:
    """The exit code of `main`, once nothing of the container is left."""
    pending = b""
    while True:
        if (code := _reap(main)) is not None:
            _kill_all()
            return code
        ready = select.select([link.fileno(), wakeups], [], [])[0]
        if wakeups in ready:
            os.read(wakeups, 4096)
        if link.fileno() in ready:
            data = link.recv(4096)
            if not data:
                _kill_all()
                os._exit(0)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                _obey(json.loads(line), main)


def _reap(main: int) -> int | None:
    """Bury who has died; the exit code of `main` if it is among them, as a container's: 128 + n for signal n."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == main:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if pid == 0:
            return None


def _kill_all() -> None:
    while children := _children(os.getpid()):
        for pid in children:
            _kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _obey(message: dict[str, Any], main: int) -> None:
    if message.get("kill") == "biggest child":
        if below := _descendants(main):
            _kill(max(below, key=_resident_pages), signal.SIGKILL)
    elif message["signal"] == signal.SIGKILL or _listens_to(main, message["signal"]):
        _kill(main, message["signal"])


def _listens_to(pid: int, number: int) -> bool:
    """Whether it handles a signal, or sleeps with the signal blocked, to fetch it. The first process of a container
    ignores all others; a shell that blocks them for a moment does not sleep meanwhile."""
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                      if ":\t" in line)
    except OSError:
        return False
    fetched = int(status["SigBlk"], 16) if status["State"].startswith("S") else 0
    return bool((int(status["SigCgt"], 16) | fetched) >> (number - 1) & 1)


def _children(pid: int) -> list[int]:
    try:
        tasks = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return [int(word) for task in tasks for word in task.read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    children = _children(pid)
    return children + [below for child in children for below in _descendants(child)]


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
