"""What our processes find in their environment, and who the administrator is."""

import json
from pathlib import Path

import pytest

from standalone import admin, environment
from standalone.seaweed import S3


class FakeServers:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database_url, self.redis_url = "postgresql://d", "redis://r"
        self.s3 = S3("host:9000", "key", "secret", "bucket", secure=True)


def made(folder: Path, **settings: str) -> dict[str, str]:
    return environment.for_processes(
        settings, FakeServers(folder), "k" * 40, {"SIMYARD_READER_URL": "r"})  # type: ignore[arg-type]


def test_processes_are_told_where_everything_is(tmp_path: Path) -> None:
    told = made(tmp_path)
    assert {name: told[name] for name in told if name.startswith("MINIO")} == {
        "MINIO_ENDPOINT": "host:9000", "MINIO_ACCESS_KEY": "key", "MINIO_SECRET_KEY": "secret",
        "MINIO_BUCKET": "bucket", "MINIO_USE_SSL": "true"}
    assert (told["DATABASE_URL"], told["REDIS_URL"]) == ("postgresql://d", "redis://r")
    assert told["STORAGE_BASE_DIR"] == f"{tmp_path}/work"
    assert told["SIMYARD_ENDPOINTS"] == f"{tmp_path}/endpoints.json"
    assert told["RUNTIME"] == "local"
    assert told["SIMYARD_READER_URL"] == "r"


def test_what_the_user_sets_is_handed_on_but_for_the_password(tmp_path: Path) -> None:
    told = made(tmp_path, LOG_LEVEL="DEBUG", SECRET_KEY="mine", STORAGE_BASE_DIR="/there", SIMYARD_ADMIN_PASSWORD="p")
    assert (told["LOG_LEVEL"], told["SECRET_KEY"], told["STORAGE_BASE_DIR"]) == ("DEBUG", "mine", "/there")
    assert "SIMYARD_ADMIN_PASSWORD" not in told


def test_the_environment_goes_before_the_file_and_empty_is_not_set(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\nMAX_GPUS=3\nREDIS_URL=\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    monkeypatch.setenv("DATABASE_URL", "")
    found = environment.read()
    assert (found["LOG_LEVEL"], found["MAX_GPUS"]) == ("ERROR", "3")
    assert not {"REDIS_URL", "DATABASE_URL"} & set(found)


def test_the_administrator_is_made_once_and_kept(tmp_path: Path) -> None:
    first = admin.keep(tmp_path, {})
    assert len(first["password"]) >= 20
    assert admin.keep(tmp_path, {}) == first == json.loads((tmp_path / "admin.json").read_text())


def test_the_administrator_is_who_the_user_says(tmp_path: Path) -> None:
    admin.keep(tmp_path, {})
    said = {"SIMYARD_ADMIN_EMAIL": "a@b.c", "SIMYARD_ADMIN_PASSWORD": "word"}
    assert admin.keep(tmp_path, said) == {"email": "a@b.c", "password": "word"} == admin.keep(tmp_path, {})


def test_a_home_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".config").write_text("in the way")
    admin.write_profile("http://here", tmp_path, {"HOME": str(tmp_path)})
    assert "its profile cannot be written" in caplog.text


def test_the_profile_goes_where_the_user_keeps_such_things(tmp_path: Path) -> None:
    admin.write_profile("http://here", tmp_path / "data", {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"})
    assert json.loads((tmp_path / "simyard/profile.json").read_text()) == {
        "url": "http://here", "admin": f"{tmp_path}/data/admin.json"}
