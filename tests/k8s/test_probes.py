"""The probes that are commands, tried on processes."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.rendering import main_container, rendered
from tests.waiting import until


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(0.01)"]) as started:
        yield started
        started.kill()


def is_alive(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """What the kubelet asks, of this process instead of the container's first one."""
    [shell, flag, script] = main_container(rendered("base"), "robot-worker")["livenessProbe"]["exec"]["command"]
    asked = script.replace("/proc/1/", f"/proc/{process.pid}/").replace("/tmp/", f"{folder}/")
    return subprocess.run([shell, flag, asked], check=False).returncode == 0


def test_a_process_that_wakes_up_is_alive_and_one_that_stands_still_is_not(
        process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    until(lambda: is_alive(process, tmp_path) and is_alive(process, tmp_path))
    process.send_signal(signal.SIGSTOP)
    until(lambda: not is_alive(process, tmp_path))
    assert not is_alive(process, tmp_path)
    process.send_signal(signal.SIGCONT)
    until(lambda: is_alive(process, tmp_path))


def test_watchers_and_workers_are_asked_alike() -> None:
    probes = [main_container(rendered("base"), name)["livenessProbe"] for name in ("robot-worker", "robot-watcher")]
    assert probes[0] == probes[1]


@pytest.mark.parametrize(("workload", "port"), [("robot-worker", 6379), ("robot-watcher", 5432)])
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_ready_is_who_is_connected(workload: str, port: int, family: socket.AddressFamily, address: str) -> None:
    command = main_container(rendered("base"), workload)["readinessProbe"]["exec"]["command"]
    written = f":{port:04X} 01 "
    assert command[2].endswith(written)
    with socket.create_server((address, 0), family=family) as server, socket.create_connection(
            server.getsockname()[:2]) as client:
        there = server.getsockname()[1]

        def is_ready(at: int) -> bool:
            asked = [each.replace(f":{port:04X}", f":{at:04X}") for each in command]
            return subprocess.run(asked, check=False).returncode == 0

        assert is_ready(there)
        # Listening is not being connected: nobody has called at the client's own port.
        with socket.create_server((address, 0), family=family) as idle:
            assert not is_ready(idle.getsockname()[1])
        client.close()
