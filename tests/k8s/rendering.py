"""What `k8s/` renders to: each thing once, as objects."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
KUBECTL = Path(sys.executable).parent / "kubectl"
OVERLAYS = ("base", "overlays/dev", "overlays/prod")
ADDITIONS = ("keda", "prometheus-adapter", "monitoring", "backup", "ingress", "metrics-server-dev")
DEPLOYMENTS = {"robot-backend", "robot-worker", "robot-watcher", "robot-reader", "robot-flower"}

Object = Mapping[str, Any]
Key = tuple[str, str | None, str]  # kind, namespace, name


def by_key(documents: str) -> dict[Key, Object]:
    """The objects in a stream of YAML, by kind, namespace and name; no two may be the same."""
    objects = [each for each in yaml.load_all(documents, yaml.CSafeLoader) if each]
    keys = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, objects, strict=True))


@cache
def rendered(folder: str) -> dict[Key, Object]:
    """`kubectl kustomize` of this folder of k8s/."""
    return by_key(_kustomize(K8S / folder))


@cache
def base_with(*components: str) -> dict[Key, Object]:
    """Base with these of the components."""
    with tempfile.TemporaryDirectory() as folder:
        near = Path(os.path.relpath(K8S, Path(folder).resolve()))
        written = {"resources": [str(near / "base")],
                   "components": [str(near / "components" / each) for each in components]}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(written))
        return by_key(_kustomize(Path(folder)))


def _kustomize(folder: Path) -> str:
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def chart(values: str = "{}") -> dict[Key, Object]:
    """The chart with these values, as JSON."""
    with Chart.load(K8S / "chart") as loaded:
        return by_key("\n".join(loaded.render(values=json.loads(values), name="robot").values()))


EVERYTHING = (*OVERLAYS, *(f"base with {name}" for name in ADDITIONS), "argocd", "chart with ingress")


@cache
def everything() -> dict[str, dict[Key, Object]]:
    """All there is to render, by what it is."""
    added = {f"base with {name}": base_with(name) for name in ADDITIONS}
    with_ingress = chart('{"ingress": {"enabled": true}}')
    made = {name: rendered(name) for name in OVERLAYS} | added | {
        "argocd": rendered("components/argocd"), "chart with ingress": with_ingress}
    assert tuple(made) == EVERYTHING
    return made


def of_kind(objects: Mapping[Key, Object], *kinds: str) -> dict[str, Object]:
    """Those of these kinds, by name."""
    return {name: each for (kind, _, name), each in objects.items() if kind in kinds}


def pods(objects: Mapping[Key, Object]) -> dict[str, Any]:
    """The pod template of each Deployment, StatefulSet and CronJob, by name."""
    found = {name: each["spec"]["template"] for name, each in of_kind(objects, "Deployment", "StatefulSet").items()}
    return found | {name: each["spec"]["jobTemplate"]["spec"]["template"]
                    for name, each in of_kind(objects, "CronJob").items()}


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All of a pod template or pod: init containers and containers."""
    spec = pod.get("spec", pod)
    return [*spec.get("initContainers", []), *spec["containers"]]


def main_container(objects: Mapping[Key, Object], workload: str) -> dict[str, Any]:
    """The container that is called as the workload is."""
    [found] = [each for each in containers(pods(objects)[workload]) if each["name"] == workload]
    return found


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping within, itself included."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)
