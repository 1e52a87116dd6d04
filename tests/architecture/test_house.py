"""The house keeps its rules, and each rule notices when it is broken."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.architecture import rules

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/none", "REDIS_URL": "redis://127.0.0.1:9/0",
    "MINIO_ENDPOINT": "127.0.0.1:9", "MINIO_ACCESS_KEY": "key", "MINIO_SECRET_KEY": "secret",
    "SECRET_KEY": "s" * 32, "STORAGE_BASE_DIR": "/nonexistent",
}
RULES: list[tuple[Callable[[Path], list[str]], str, str]] = [
    (rules.writers_of_state, "webapp/planted.py", "tx.execute(update(jobs).where(x).values(state='RUNNING'))"),
    (rules.writers_of_state, "workers/planted.py", "tx.execute(text('UPDATE jobs SET state = 1'))"),
    (rules.writers_of_state, "workers/planted.py", "tx.execute(insert(models.events).values(a=1))"),
    (rules.readers_of_environment, "workers/planted.py", "import os\nx = os.environ['A']"),
    (rules.readers_of_environment, "webapp/planted.py", "import os\nx = os.getenv('A')"),
    (rules.silent_handlers, "shared/planted.py", "try:\n    x\nexcept:\n    pass"),
    (rules.silent_handlers, "shared/planted.py", "try:\n    x\nexcept Exception:\n    pass"),
    (rules.modules_without_a_word, "webapp/planted.py", "x = 1"),
    (rules.modules_without_a_word, "webapp/utils.py", '"""Says something."""'),
    (rules.long_rooms, "webapp/planted.py", "x = 1\n" * 401),
    (rules.long_rooms, "webapp/planted.py", "def f():\n" + "    x = 1\n" * 40),
    (rules.long_tasks, "workers/tasks.py", "def launch(job):\n    a = 1\n    b = 2\n    c(a, b)"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in rules.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES), ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize(("rule", "path", "source"), RULES,
                         ids=[f"{rule.__name__}-{number}" for number, (rule, _, _) in enumerate(RULES)])
def test_a_planted_violation_is_noticed(
        tmp_path: Path, rule: Callable[[Path], list[str]], path: str, source: str) -> None:
    planted = tmp_path / path
    planted.parent.mkdir()
    planted.write_text(source)
    assert any(found.startswith(path) or path == "workers/tasks.py" for found in rule(tmp_path))


def lint_imports(root: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(root), "NO_COLOR": "1", "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import sys; from importlinter.cli import lint_imports; "
                                     f"sys.exit(lint_imports('{root}/setup.cfg', no_cache=True))"],
        cwd=root, env=environment, text=True, capture_output=True, check=False, timeout=100)
    return done.stdout + done.stderr


def test_every_import_contract_is_kept() -> None:
    assert " 0 broken" in lint_imports(ROOT)


def test_every_import_contract_notices_a_planted_import(copy: Path) -> None:
    plants = {
        "shared/persistence/database.py": "import shared.messaging.queue, celery, redis, minio, mcap",
        "shared/domain/states.py": "import sqlalchemy, flask, prometheus_client, opentelemetry",
        "shared/messaging/queue.py": "import sqlalchemy as _, minio as _m",
        "webapp/__init__.py": "import workers.facts",
        "client/cli.py": "import standalone, shared.settings",
        "workers/decision.py": "import shared.persistence.database, sqlalchemy, redis, kubernetes",
        "workers/player.py": "import foxglove",
    }
    for path, source in plants.items():
        file = copy / path
        file.write_text(file.read_text() + f"\n{source}\n")
    said = lint_imports(copy)
    assert " 0 kept" in said, said


@cache
def loaded(entry: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after importing an entry point; traces are not asked for."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | SETTINGS
    script = f"import sys, {entry}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=environment, text=True,
                          capture_output=True, check=True, timeout=100)
    return set(done.stdout.split())


def test_shared_holds_only_what_both_web_and_worker_load() -> None:
    present = {path[:-3].replace("/", ".").removesuffix(".__init__") for path, _ in rules.sources(ROOT, ("shared",))}
    web, worker = loaded("webapp.wsgi"), loaded("workers.app, workers.tasks")
    assert present - {"shared"} == {name for name in web & worker if name.startswith("shared.")}


def test_what_is_not_asked_for_is_not_imported() -> None:
    # The Redis client by itself imports the part for metrics, when it is there.
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.instrumentation")
    every = loaded("webapp.wsgi") | loaded("workers.app, workers.tasks") | loaded("workers.watcher")
    assert [name for name in every if name.startswith(ours)] == []


def test_tasks_sent_are_tasks_served(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    script = ("from workers.app import app; app.loader.import_default_modules(); "
              "print(*(name for name in app.tasks if not name.startswith('celery.')), '|', "
              "*(queue.name for queue in app.conf.task_queues))")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], text=True, capture_output=True, check=True,
                          timeout=100)
    served, queues = (set(part.split()) for part in done.stdout.split("|"))
    from shared.messaging.queue import QUEUES, WORK

    assert served == set(QUEUES) == {task for tasks in WORK.values() for task in tasks.values()}
    assert queues == set(QUEUES.values())


def test_importing_opens_nothing_and_reads_no_environment() -> None:
    bare = {"PATH": os.environ["PATH"]}
    script = "import shared.connections, workers.recorder, workers.watcher, webapp"
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=bare, check=True, timeout=100)


def test_every_setting_is_documented() -> None:
    from shared.settings import WebSettings, WorkerSettings

    text = (ROOT / "docs/settings.md").read_text()
    names = {name.upper() for name in {*WebSettings.model_fields, *WorkerSettings.model_fields}}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
