"""Containers end with whoever runs them, however that ends."""

import subprocess
import sys
from pathlib import Path

from tests.cluster import spawner
from tests.waiting import until

SCRIPT = """
import importlib.util, os, signal, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("spawner", sys.argv[1])
spawner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(spawner)
folder = Path(sys.argv[2])
starter = spawner.Spawner()
process = starter.start(["sh", "-c", "setsid sleep 1000 & echo $! >pid; : >up; wait"], dict(os.environ), folder,
                        folder / "log")
while not (folder / "up").exists():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_containers_do_not_outlive_tests_that_are_killed(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", SCRIPT, spawner.__file__, str(tmp_path)], check=False)

    pid = (tmp_path / "pid").read_text().strip()
    assert killed.returncode == -9
    assert pid.isdigit()
    until(lambda: not Path(f"/proc/{pid}").exists())
