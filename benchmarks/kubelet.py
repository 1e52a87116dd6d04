"""The API server of the cluster of our tests in a process of its own, and a hand in place of its kubelets: pods are
what the benchmark says they are, and no process runs in them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from workers.runtimes.kubernetes.pods import ATTEMPT, GRANT, JOB, MAIN, RECORDER, Body
from workers.uplink import Uplink

NAMESPACE = "robot-sims"
FACTS: dict[str, Any] = {"result": {}, "files": [], "recordings": [], "problems": [],
                         "log": {"tail": "", "size": 0, "uploaded": False}, "usage": {}, "progress": None}


class Server:
    """The API server: where it is, and what it was asked."""

    def __init__(self, process: "subprocess.Popen[str]", kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.url: str = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        self._process = process

    def calls(self) -> Mapping[str, int]:
        """How many there were so far, by verb and resource as in "create pods"."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def serving(folder: Path, create_seconds: float = 0) -> Iterator[Server]:
    """An API server without nodes, where making a pod takes so long besides what it costs us."""
    command = [sys.executable, "-m", "tests.cluster", str(folder), "--create-seconds", str(create_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(process, Path(process.stdout.readline().strip()))


class Kubelet:
    """Says of pods what a node would, and speaks for their recorders."""

    def __init__(self, server: Server, web_url: str) -> None:
        self._connection = HTTPConnection(urlsplit(server.url).netloc)
        self._web_url = web_url

    def pods(self, phase: str) -> list[Body]:
        """All that are in this phase."""
        found: list[Body] = self._ask("GET", "")["items"]
        return [pod for pod in found if pod["status"]["phase"] == phase]

    def run(self, pod: Body) -> None:
        """Its program and its recorder run."""
        self._say(pod, "Running", {"running": {"startedAt": _now()}}, {"running": {"startedAt": _now()}})

    def end(self, pod: Body) -> None:
        """Its program has ended well."""
        self._say(pod, "Running", _terminated("exit 0"), {"running": {"startedAt": _now()}})

    def tell_facts(self, pod: Body) -> None:
        """Its recorder has found nothing and says so."""
        grant = json.loads(pod["metadata"]["annotations"][GRANT])
        Uplink(grant | {"address": {"url": self._web_url}}).put_facts(FACTS)

    def finish(self, pod: Body) -> None:
        """Its recorder has ended too."""
        self._say(pod, "Succeeded", _terminated("exit 0"), _terminated(""))

    def _say(self, pod: Body, phase: str, main: Body, recorder: Body) -> None:
        self._ask("PATCH", f"/{pod['metadata']['name']}/status", {"status": {
            "phase": phase, "podIP": "127.0.0.1", "startTime": _now(),
            "containerStatuses": [_container(MAIN, main)], "initContainerStatuses": [_container(RECORDER, recorder)]}})

    def _ask(self, method: str, place: str, body: Body | None = None) -> Body:
        self._connection.request(method, f"/api/v1/namespaces/{NAMESPACE}/pods{place}",
                                 None if body is None else json.dumps(body),
                                 {"Content-Type": "application/merge-patch+json"})
        answer = self._connection.getresponse()
        said: Body = json.loads(answer.read())
        if answer.status not in (200, 404):  # what has ended may be gone before all was said of it
            raise RuntimeError(said)
        return said


def job_of(pod: Body) -> str:
    """The id of the job whose attempt it is."""
    assert pod["metadata"]["labels"][ATTEMPT] == "1"
    job: str = pod["metadata"]["labels"][JOB]
    return job


def _container(name: str, state: Body) -> Body:
    return {"name": name, "state": state, "lastState": {}, "ready": "running" in state, "restartCount": 0,
            "image": "worker:1", "imageID": "worker@sha256:0"}


def _terminated(message: str) -> Body:
    return {"terminated": {"exitCode": 0, "reason": "Completed", "message": message, "startedAt": _now(),
                           "finishedAt": _now()}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
