"""A copy of what the scripts work on, and a cluster that only writes down what it is told."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.rendering import KUBECTL, ROOT

COPIED = ("install.sh", "server-renew.sh", ".version", "deploy", "k8s")
PROGRAMS = ("kubectl", "docker", "minikube", "kind")


class Cluster:
    """`calls` in the order in which they were made; `present` are the objects that `kubectl get` finds."""

    def __init__(self, folder: Path) -> None:
        self.root, self.fake = folder / "copy", folder / "fake"
        self.root.mkdir()
        (self.fake / "bin").mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, symlinks=True)
            else:
                shutil.copy(source, self.root / name)
        for program in PROGRAMS:
            (self.fake / "bin" / program).symlink_to(Path(__file__).with_name("fake.sh"))
        for file in ("calls", "present", "refused", "applied"):
            (self.fake / file).touch()
        self.context("a cluster")

    def context(self, name: str) -> None:
        (self.fake / "context").write_text(f"{name}\n")

    def has(self, *objects: str) -> None:
        (self.fake / "present").write_text("".join(f"{each}\n" for each in objects))

    def refuses(self, *calls: str) -> None:
        (self.fake / "refused").write_text("".join(f"{each}\n" for each in calls))

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.fake / 'bin'}:{os.environ['PATH']}", "FAKE": str(self.fake),
                       "REAL_KUBECTL": str(KUBECTL), "HOME": str(self.fake)}
        return subprocess.run([self.root / script, *arguments], env=environment, text=True, capture_output=True,
                              check=False, timeout=100, stdin=subprocess.DEVNULL)

    @property
    def calls(self) -> list[str]:
        return (self.fake / "calls").read_text().splitlines()

    def place(self, beginning: str, holding: str = "") -> int:
        """Where in the calls the first one is that begins and holds so."""
        places = [place for place, call in enumerate(self.calls)
                  if call.startswith(beginning) and holding in f"{call} "]
        assert places, f"no call {beginning} … {holding} in {self.calls}"
        return places[0]

    def applied(self) -> list[dict[str, Any]]:
        return [each for each in yaml.safe_load_all((self.fake / "applied").read_text()) if each]

    def files(self) -> dict[str, str]:
        return {str(file.relative_to(self.root)): file.read_text() for file in sorted(self.root.rglob("*"))
                if file.is_file()}
