"""Each process is given the settings that it has, all that it needs, and no secret that it does not."""

import json
import subprocess
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from shared.domain.specs import TemplateSpec
from shared.settings import InstallSettings, ReaderSettings, Settings, WebSettings, WorkerSettings
from tests.k8s.rendering import K8S, OVERLAYS, ROOT, containers, everything, of_kind, pods, rendered, walk
from webapp.api.resource import validate

PROCESSES: dict[tuple[str, str], type[BaseSettings]] = {
    ("robot-backend", "install"): InstallSettings, ("robot-backend", "robot-backend"): WebSettings,
    ("robot-worker", "robot-worker"): WorkerSettings, ("robot-watcher", "robot-watcher"): WorkerSettings,
    ("robot-reader", "robot-reader"): ReaderSettings}
ALL = {name.upper() for kind in (*PROCESSES.values(), Settings) for name in kind.model_fields}


def secrets(*arguments: str) -> dict[str, str]:
    """What k8s/secrets.sh makes."""
    printed = subprocess.run([K8S / "secrets.sh", *arguments], capture_output=True, text=True, check=True).stdout
    made = yaml.safe_load(printed)
    assert (made["kind"], made["metadata"]) == ("Secret", {"name": "robot-secrets", "namespace": "robot"})
    return dict(made["stringData"])


def environment(overlay: str, workload: str, container: str) -> dict[str, str]:
    """What this container is told, the secrets included."""
    objects, known = rendered(overlay), secrets()
    [found] = [each for each in containers(pods(objects)[workload]) if each["name"] == container]
    told: dict[str, str] = {}
    for source in found.get("envFrom", []):
        told |= objects["ConfigMap", "robot", source["configMapRef"]["name"]]["data"]
    return told | {each["name"]: each["value"] if "value" in each else known[each["valueFrom"]["secretKeyRef"]["key"]]
                   for each in found["env"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", PROCESSES, ids="-".join)
def test_a_process_starts_with_what_it_is_told(
        overlay: str, process: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """S0-22, S0-23, S0-24, S0-25, S3-11, S4-8, S4-9, S4-10."""
    told, kind = environment(overlay, *process), PROCESSES[process]
    assert set(told) <= ALL
    for name in ALL:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    kind(_env_file=None)


@pytest.mark.parametrize("process", PROCESSES, ids="-".join)
def test_a_process_is_told_no_secret_that_it_does_not_know(process: tuple[str, str]) -> None:
    """S4-20: a worker cannot sign tokens, the reader reaches nothing."""
    [found] = [each for each in containers(pods(rendered("base"))[process[0]]) if each["name"] == process[1]]
    told = {each["name"] for each in found["env"] if "valueFrom" in each}
    assert told <= {name.upper() for name in PROCESSES[process].model_fields}
    assert process[1] in ("install", "robot-backend") or "SECRET_KEY" not in told
    assert all("secretRef" not in each for each in found.get("envFrom", []))


def test_what_the_seeds_fix_is_told() -> None:
    told = rendered("base")["ConfigMap", "robot", "robot-config"]["data"]
    expected = {"RUNTIME": "kubernetes", "KUBE_NAMESPACE": "robot", "SIM_NAMESPACE": "robot-sims",
                "MINIO_BUCKET": "robot-sim", "MINIO_USE_SSL": "false", "API_STR": "/api/v1", "ALGORITHM": "HS256",
                "ACCESS_TOKEN_EXPIRE_MINUTES": "30", "WORKER_CONCURRENCY": "10", "EXECUTION_TIMEOUT_SECONDS": "30",
                "EXECUTION_MEMORY_LIMIT_MB": "512", "STORAGE_BASE_DIR": "/data/storage",
                "SIMYARD_INTERNAL_URL": "http://robot-backend-service.robot:8000", "MAX_RUNNING_INSTANCES": "100"}
    assert expected.items() <= told.items()


def test_addresses_that_simulators_are_told_name_the_namespace() -> None:
    """A recorder in robot-sims is told them as they are: by the mere name of a Service it would find nothing."""
    told = rendered("base")["ConfigMap", "robot", "robot-config"]["data"]
    services = of_kind(rendered("base"), "Service")
    for setting in ("SIMYARD_INTERNAL_URL", "MINIO_ENDPOINT"):
        host, port = told[setting].removeprefix("http://").split(":")
        service, namespace = host.split(".")
        assert namespace == "robot"
        assert int(port) in [each["port"] for each in services[service]["spec"]["ports"]]


def test_no_secret_lies_in_a_config_map_or_in_a_file() -> None:
    """S0-63, S1-14, S3-4, S3-20: there is no Secret in k8s/, only what makes one."""
    secret = secrets()
    for objects in everything().values():
        assert of_kind(objects, "Secret") == {}
        settings = [name for each in of_kind(objects, "ConfigMap").values() for name in each["data"]]
        assert [name for name in settings if name in secret] == []
        literals = [each for pod in pods(objects).values() for container in containers(pod)
                    for each in container.get("env", []) if "value" in each]
        assert [each["name"] for each in literals if any(
            word in each["name"] for word in ("PASSWORD", "SECRET", "TOKEN", "KEY"))] == []


def test_the_secret_has_the_keys_that_are_asked_for_and_new_passwords_each_time() -> None:
    """S2-25."""
    asked = {each["secretKeyRef"]["key"] for objects in (rendered(name) for name in OVERLAYS)
             for each in walk(dict(enumerate(objects.values())))
             if each.get("secretKeyRef", {}).get("name") == "robot-secrets"}
    first, second = secrets(), secrets("someone@example.com")
    assert set(first) == asked
    assert second["SIMYARD_ADMIN_EMAIL"] == "someone@example.com"
    same = {name for name in first if first[name] == second[name]}
    assert same == {"MINIO_ACCESS_KEY"}
    assert min(len(value) for name, value in first.items() if name not in ("MINIO_ACCESS_KEY",
                                                                           "SIMYARD_ADMIN_EMAIL")) >= 32
    assert first["POSTGRES_PASSWORD"] in first["DATABASE_URL"]
    assert first["REDIS_PASSWORD"] in first["REDIS_URL"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_built_in_template_is_the_reference_robot_in_its_image(overlay: str) -> None:
    text = rendered(overlay)["ConfigMap", "robot", "robot-templates"]["data"]["diffdrive.json"]
    ours: dict[str, Any] = json.loads(text)
    image = ours.pop("image")
    assert image.partition("@")[0].partition(":")[0].endswith("robot-sim-reference")
    assert ours == json.loads((ROOT / "simulators/diffdrive/template.json").read_text())
    assert validate(TemplateSpec, json.loads(text)).image == image
