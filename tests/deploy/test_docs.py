"""Every command in docs/deploy.md and docs/runbook.md names what there is; the runbook has every row of the seed."""

import importlib.util
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from shared.domain.states import Reason
from tests.deploy import commands as reading
from tests.deploy.commands import PLACEHOLDER, commands, exists, headings, kubectl_options, links
from tests.deploy.test_compose import OURS, services
from tests.k8s.rendering import ROOT, base_with, containers, everything, of_kind, pods, rendered

DEPLOY, RUNBOOK = ROOT / "docs/deploy.md", ROOT / "docs/runbook.md"
PAGES = pytest.mark.parametrize("page", [DEPLOY, RUNBOOK], ids=lambda page: page.stem)
# Of others, which the pages say where to get.
PROGRAMS = {
    "alembic", "base64", "bash", "cd", "celery", "cosign", "curl", "docker", "echo", "eval", "export", "git",
    "gunicorn", "helm", "kind", "kubectl", "lsof", "make", "minikube", "pip", "psql", "python", "python3", "rclone",
    "sh", "source", "sudo", "umask"}
KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service", "cronjob": "CronJob"}
VERBS_OF_TWO = {"config set-context", "create job", "create secret", "rollout restart", "rollout status",
                "rollout undo", "rollout history", "set image"}
SECRET = {"robot-secrets", "robot-backup"}
ROWS = {
    "S0-50": ["--no-cache-dir", "--upgrade pip setuptools wheel", "PYTHONPATH", ".bashrc", ".zshrc"],
    "S0-51": ["lsof -i :8000", "lsof -i :5432", "kill PID", "docker compose restart backend"],
    "S0-52": ["### Pending", "kubectl describe pod", "Insufficient", "PersistentVolumeClaims"],
    "S0-53": ["kubectl get storageclasses", "persistentvolumes,persistentvolumeclaims", "chown", "Permission denied"],
    "S0-54": ["ImagePullBackOff", "eval $(minikube docker-env)", "imagePullPolicy: Never"],
    "S0-55": ["get endpoints", "nslookup postgres-service", "get services"],
    "S0-56": ["logs deployment/metrics-server", "rollout restart deployment/metrics-server", "v1beta1.metrics.k8s.io"],
    "S0-57": ["echo \"$DATABASE_URL\"", "psql postgresql://", "docker exec -it robot-postgres psql -U postgres"],
    "S0-58": ["alembic current", "alembic history", "alembic downgrade", "alembic upgrade head --sql"],
    "S3-11": ["CrashLoopBackOff", "SECRET_KEY must have at least 32 bytes", "clash", "/up", "simyard install: database",
              "--previous"],
    "S4-18": ["### A volume is not bound", "Docker's socket", "hostPath", "share the queue", "components.yaml",
              "resources.requests"],
    "restoring": ["## Restoring", "### The drill", "restore-drill", "pg_restore"],
    "losses": ["### Redis is gone", "### The S3 server is gone", "### Postgres is gone", "### Nothing starts any more"],
}


def kubectl_commands(page: Path) -> list[list[str]]:
    found = [command[1:] for command in commands(page) if command[0] == "kubectl"]
    return [command[:command.index("--")] if "--" in command else command for command in found]


@pytest.mark.parametrize("row", ROWS)
def test_the_runbook_has_the_row(row: str) -> None:
    text = RUNBOOK.read_text()
    assert [word for word in ROWS[row] if word not in text] == []


def test_every_reason_has_a_remedy() -> None:
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`.*?) \|", RUNBOOK.read_text()))))
    assert {reason.value for reason in Reason} - told == {"cancelled_by_user"}


def test_each_trouble_says_how_to_see_it_and_what_to_do() -> None:
    sections = re.split(r"(?m)^(?=##+ )", RUNBOOK.read_text())
    troubles = [each for each in sections if "**See**" in each]
    assert len(troubles) >= 17
    for trouble in troubles:
        assert "**Do**" in trouble or "| do |" in trouble or "**do**" in trouble, trouble.splitlines()[0]
        assert "```sh" in trouble or "### Postgres is gone" in trouble, trouble.splitlines()[0]


@PAGES
def test_programs_and_files_exist(page: Path) -> None:
    for command in commands(page):
        program = command[0]
        if "/" in program:
            assert exists(program), program
            said = (ROOT / program).read_text()
            assert [word for word in command[1:] if word.startswith("--") and f"{word}" not in said] == []
        else:
            assert program in PROGRAMS or re.fullmatch(r"\w+=.*", program), program
        for word in command:
            if re.match(r"(k8s|deploy|simulators|docs)/", word):
                assert exists(word), word


@PAGES
def test_make_targets_and_modules_exist(page: Path) -> None:
    targets = set(re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text()))
    for command in commands(page):
        if command[0] == "make":
            assert set(command[1:]) <= targets
        if command[0].startswith("python") and command[1] == "-m":
            assert command[2] in ("venv", "pip") or importlib.util.find_spec(command[2]), command[2]
        if command[0] in ("pip", "python") and "-r" in command:
            assert [word for word in command if word.endswith(".txt") and not exists(word)] == []
        if command[0] in ("gunicorn", "alembic", "celery"):
            assert Path(sys.executable).with_name(command[0]).exists()


@PAGES
def test_kubectl_knows_its_verbs_and_options(page: Path) -> None:
    found = kubectl_commands(page)
    assert len(found) > 15
    for command in found:
        verb = command[:2] if " ".join(command[:2]) in VERBS_OF_TWO else command[:1]
        verb = [*verb, "generic"] if verb == ["create", "secret"] else verb
        named = {word[2:].split("=")[0] for word in command if word.startswith("--")}
        assert named <= kubectl_options(*verb), command


@PAGES
def test_kubectl_is_asked_for_objects_that_exist(page: Path) -> None:
    objects = {kind: {name for each in everything().values() for name in of_kind(each, kind)}
               for kind in (*KINDS.values(), "Namespace", "APIService", "HorizontalPodAutoscaler")}
    labels = {each["metadata"]["labels"].get("app") for rendering in everything().values()
              for each in pods(rendering).values()}
    for command in kubectl_commands(page):
        text = " ".join(command)
        for kind, name in re.findall(r"\b(deployment|statefulset|service|cronjob)/([\w-]+)", text):
            assert name in objects[KINDS[kind]] or PLACEHOLDER.fullmatch(name), text
        for namespace in re.findall(r"--namespace ([\w-]+)", text):
            assert namespace in objects["Namespace"] | {"kube-system", "ingress-nginx", "argocd"}, text
        for app in re.findall(r"--selector app=([\w-]+)", text):
            assert app in labels, text
        for secret in re.findall(r"\bsecret (?:generic )?([\w-]+)", text):
            assert secret in SECRET, text
        for claim in re.findall(r"persistentvolumeclaim ([\w-]+)", text):
            assert claim == "data-postgres-0"
        for service in re.findall(r"apiservice (\S+)", text):
            assert service in objects["APIService"]
        for folder in re.findall(r"--kustomize (\S+)", text):
            assert exists(f"{folder}/kustomization.yaml")
        for container in re.findall(r"(?:--container |set image \S+ )([\w-]+)", text):
            assert container in {each["name"] for pod in pods(rendered("base")).values() for each in containers(pod)}


def test_what_an_exec_runs_is_in_the_image_of_that_pod() -> None:
    found = [(command[command.index("exec") + 1:command.index("--")], command[command.index("--") + 1])
             for page in (DEPLOY, RUNBOOK) for command in commands(page)
             if command[:2] == ["kubectl", "exec"] and "--" in command]
    programs = {"deployment/robot-backend": {"python", "alembic"}, "statefulset/redis": {"redis-cli"},
                "statefulset/postgres": {"psql", "pg_isready", "df", "dropdb", "createdb", "pg_restore"}}
    assert len(found) > 8
    for words, program in found:
        [target] = [word for word in words if "/" in word]
        assert program in programs[target]
    assert re.search(r"(?m)^COPY pyproject.toml /app/pyproject.toml$", (ROOT / "Dockerfile.web").read_text())


@PAGES
def test_compose_services_and_containers_exist(page: Path) -> None:
    for command in commands(page):
        if command[:2] == ["docker", "compose"]:
            named = {word for word in command[3:] if not word.startswith("-")}
            assert named <= set(services()), command
        if command[:2] == ["docker", "exec"]:
            assert command[3] in {each["container_name"] for each in services().values()}
        if command[:2] == ["docker", "run"]:
            [name] = [command[place + 1] for place, word in enumerate(command) if word == "--name"]
            [service] = [each for each in services().values() if each["container_name"] == name]
            assert service["image"].startswith(next(word for word in command if ":" in word and word.split(":")[0] in
                                                    ("postgres", "redis", "chrislusf/seaweedfs")))


def test_what_helm_is_told_to_set_are_values_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "k8s/chart/values.yaml").read_text())
    [command] = [each for each in commands(DEPLOY) if each[:3] == ["helm", "install", "robot"]]
    named = [word.split("=")[0] for before, word in pairwise(command) if before == "--set"]
    assert len(named) > 5
    for name in named:
        found = values
        for part in name.split("."):
            found = found[part]
        assert not isinstance(found, dict), name


@PAGES
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {name.upper() for kind in OURS.values() if kind for name in kind.model_fields}
    known |= set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    known |= {"POSTGRES_DB", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ACCESS_KEY"}  # of servers' images
    assert reading.settings_named(page) <= known
    if page == DEPLOY:
        assert "API_STR" in reading.settings_named(page)


@PAGES
def test_links_lead_somewhere(page: Path) -> None:
    found = list(links(page))
    assert found
    for file, heading in found:
        assert file.exists(), file
        assert not heading or heading in headings(file), heading


def test_alerts_and_backup_secret_are_the_components() -> None:
    rules = of_kind(base_with("monitoring"), "PrometheusRule")
    alerts = {rule["alert"] for each in rules.values() for group in each["spec"]["groups"] for rule in group["rules"]}
    named = {word for text in re.findall(r"alerts? ([A-Z]\w+(?:(?:, | or )[A-Z]\w+)*)", RUNBOOK.read_text())
             for word in re.findall(r"[A-Z]\w+", text)}
    assert len(named) > 5
    assert named <= alerts
    keys = set(re.findall(r"--from-literal=(\w+)", DEPLOY.read_text()))
    assert keys == set(re.findall(r"name: robot-backup, key: (\w+)", (ROOT / "k8s/components/backup/cronjobs.yaml")
                                  .read_text()))
    assert yaml.safe_load((ROOT / "k8s/components/backup/kustomization.yaml").read_text())["kind"] == "Component"


@PAGES
def test_the_shell_can_read_every_block(page: Path) -> None:
    for block in reading.blocks(page, "sh"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, block
