"""docker-compose.yml has the seed's names, starts in the order of need and tells each process what it must know."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from shared.settings import InstallSettings, ReaderSettings, WebSettings, WorkerSettings
from tests.k8s.rendering import ROOT, containers, main_container, pods, rendered

FILE = ROOT / "docker-compose.yml"
SERVERS = {"postgres", "redis", "minio"}
OURS: dict[str, type[BaseSettings] | None] = {
    "install": InstallSettings, "backend": WebSettings, "worker": WorkerSettings, "watcher": WorkerSettings,
    "reader": ReaderSettings, "flower": None}
DURATION = re.compile(r"\d+s")


def compose(**variables: str) -> dict[str, Any]:
    """The file as Compose reads it with these variables set."""
    def value(found: re.Match[str]) -> str:
        name, default = found.groups()
        return variables.get(name) or default or ""
    loaded: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, FILE.read_text()))
    return loaded


def services(**variables: str) -> dict[str, Any]:
    found: dict[str, Any] = compose(**variables)["services"]
    return found


def better_passwords() -> dict[str, str]:
    """What deploy/env.sh writes."""
    printed = subprocess.run([ROOT / "deploy/env.sh", "me@robots.test"], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in printed.stdout.splitlines())


def test_it_is_a_compose_file() -> None:
    """S0-33."""
    done = subprocess.run([Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema",
                           "vendor.compose-spec", FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert compose()["version"] == "3.8"


def test_names_ports_and_volumes_are_the_seeds() -> None:
    """S0-31, S0-32, S0-33."""
    told = compose()
    assert told["networks"] == {"robot-net": {"name": "robot-net"}}
    assert {"postgres_data", "minio_data"} <= set(told["volumes"])
    ports = {name: [port.split(":", 1)[1] for port in each.get("ports", [])] for name, each in services().items()}
    assert ports == {"postgres": ["5432:5432"], "redis": ["6379:6379"], "minio": ["9000:9000", "9001:9001"],
                     "minio-console": [], "install": [], "backend": ["8000:8000"], "worker": [], "watcher": [],
                     "reader": [], "flower": ["5555:5555"]}
    for name, each in services().items():
        assert each["container_name"] == f"robot-{name}"
        assert each.get("networks", ["robot-net"]) == ["robot-net"]
    assert services()["postgres"]["volumes"] == ["postgres_data:/var/lib/postgresql/data"]
    assert services()["minio"]["volumes"] == ["minio_data:/data"]
    assert services()["postgres"]["image"].startswith("postgres:15")
    assert services()["redis"]["image"].startswith("redis:7")


def test_the_defaults_of_development_are_the_seeds() -> None:
    """S0-20, S0-21, S0-22, S0-32."""
    told = services()
    postgres, backend = told["postgres"]["environment"], told["backend"]["environment"]
    assert postgres == {"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": "password", "POSTGRES_DB": "robotdb"}
    assert backend["DATABASE_URL"] == "postgresql+asyncpg://postgres:password@robot-postgres:5432/robotdb"
    assert backend["REDIS_URL"] == "redis://robot-redis:6379/0"
    assert backend["MINIO_ENDPOINT"] == "robot-minio:9000"
    assert (backend["MINIO_ACCESS_KEY"], backend["MINIO_SECRET_KEY"]) == ("minioadmin", "minioadmin")


def test_what_everybody_knows_the_password_of_is_on_the_loopback() -> None:
    ports = [port for each in services().values() for port in each.get("ports", [])]
    assert len(ports) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all(port.startswith("0.0.0.0:") for each in services(LISTEN="0.0.0.0").values()
               for port in each.get("ports", []))


def test_env_sh_replaces_every_password_and_allows_no_short_key() -> None:
    better = better_passwords()
    known = {"password", "minioadmin", "known to everybody", "admin:password"}
    text = yaml.safe_dump(services(**better))
    assert [word for word in known if re.search(rf"(?<![\w.-]){word}(?![\w.-])", text)] == []
    assert better["SIMYARD_ENVIRONMENT"] == "production"
    assert better != better_passwords()


@pytest.mark.parametrize("passwords", ["known", "better"])
@pytest.mark.parametrize("service", [name for name, kind in OURS.items() if kind])
def test_a_process_starts_with_what_it_is_told(
        service: str, passwords: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = services(**(better_passwords() if passwords == "better" else {}))[service]["environment"]
    kind = OURS[service]
    assert kind is not None
    assert set(told) <= {name.upper() for name in kind.model_fields} | {
        name.upper() for each in OURS.values() if each for name in each.model_fields}
    for name in kind.model_fields:
        if name.upper() != "PATH":
            monkeypatch.delenv(name.upper(), raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    kind(_env_file=None)


def test_no_process_is_told_a_secret_that_it_does_not_know() -> None:
    told = services()
    for service in ("worker", "watcher", "reader", "flower"):
        assert "SECRET_KEY" not in told[service]["environment"]
    assert set(told["reader"]["environment"]) == {"SIMYARD_READER_LISTEN", "SIMYARD_READER_TOKEN", "LOG_LEVEL"}
    assert "SIMYARD_ADMIN_PASSWORD" not in told["backend"]["environment"]


def test_every_password_can_be_set() -> None:
    for line in FILE.read_text().splitlines():
        if re.search(r"(PASSWORD|SECRET\w*|TOKEN|AUTH|ACCESS_KEY\w*):", line):
            assert "${" in line, line


def test_each_waits_for_what_it_needs() -> None:
    """S0-33."""
    told = services()
    healthy = {name: {"condition": "service_healthy"} for name in SERVERS}
    assert told["install"]["depends_on"] == healthy
    for name in ("backend", "worker"):
        assert told[name]["depends_on"] == healthy | {"install": {"condition": "service_completed_successfully"}}
    assert told["install"]["command"] == ["python", "-m", "webapp.install"]
    for name, each in told.items():
        assert name in ("install", "minio-console") or "healthcheck" in each or name in ("backend", "worker")
        assert not {"curl", "bash"} & set(map(str, each.get("healthcheck", {}).get("test", [])))


def test_the_watcher_sees_the_workers_programs() -> None:
    told = services()
    assert told["watcher"]["pid"] == "service:worker"
    assert told["watcher"]["volumes"] == told["worker"]["volumes"] == ["attempts:/data/storage"]
    assert told["worker"]["environment"]["STORAGE_BASE_DIR"] == "/data/storage"
    assert told["worker"]["init"] is True
    assert told["worker"]["build"]["target"] == "local"


def test_ours_may_do_nothing_that_they_need_not() -> None:
    for name in OURS:
        each = services()[name]
        assert (each["read_only"], each["cap_drop"]) == (True, ["ALL"])
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert each["tmpfs"][0].startswith("/tmp:")
        assert each.get("privileged") is None
    assert "docker.sock" not in FILE.read_text()


def test_servers_are_those_of_the_cluster() -> None:
    """S0-32, S0-48: an S3 image that still pulls."""
    objects = rendered("base")
    for name in SERVERS:
        main = next(each for each in containers(pods(objects)[name]) if each["name"] == name)
        assert services()[name]["image"] == main["image"]
    s3 = next(each for each in containers(pods(objects)["minio"]) if each["name"] == "minio")
    assert services()["minio"]["entrypoint"] == s3["command"]


@pytest.mark.parametrize("service", ["watcher", "reader", "flower"])
def test_commands_are_those_of_the_cluster(service: str) -> None:
    assert services()[service]["command"] == main_container(rendered("base"), f"robot-{service}")["command"]


def test_stopping_gives_as_long_as_on_the_cluster() -> None:
    objects = rendered("base")
    for service, workload in (("backend", "robot-backend"), ("worker", "robot-worker"), ("minio", "minio")):
        grace = services()[service]["stop_grace_period"]
        assert DURATION.fullmatch(grace)
        assert int(grace[:-1]) >= pods(objects)[workload]["spec"]["terminationGracePeriodSeconds"]


def test_players_are_reached_by_web_and_from_nowhere_else() -> None:
    told = services()
    for name in ("worker", "watcher"):  # either may start one
        assert told[name]["environment"]["SIMYARD_PLAYER_HOST"] == told["worker"]["container_name"]
    assert told["worker"]["networks"] == told["backend"]["networks"] == ["robot-net"]
    assert "ports" not in told["worker"]
