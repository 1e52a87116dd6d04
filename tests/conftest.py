"""The real servers, one set for each xdist worker, and a database of its own for each test that wants one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from shared.persistence.database import Database
from standalone.servers import Servers
from tests import order
from tests.databases import Lender, create_database
from tests.stack import Stack

# A busy machine is no fault: no test asserts a wall-clock time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


# Files that go through whole collections or start many processes; `make check` leaves them to `make test`.
LONG = {
    "test_cage.py", "test_collection.py", "test_driving.py", "test_excerpt.py", "test_extract.py",
    "test_given_cluster.py", "test_harvest.py", "test_hostile.py", "test_index_collection.py",
    "test_index_properties.py", "test_install.py", "test_kills.py", "test_node.py", "test_player.py",
    "test_ranges.py", "test_reader.py", "test_recorder.py", "test_renew.py", "test_scheduler.py", "test_slicing.py",
    "test_trouble.py"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What `make check` leaves out is not even imported."""
    return True if "not long" in config.option.markexpr and is_long(collection_path) else None


def is_long(path: Path) -> bool:
    return path.name in LONG or "end_to_end" in path.parts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        uses = {"servers", "stack", "own_stack"} & set(getattr(item, "fixturenames", ()))
        if uses or {"standalone", "integration"} & set(item.path.parts):
            item.add_marker("servers")
        if is_long(item.path):
            item.add_marker("long")
    order.sort(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.Scheduling:
    return order.Scheduling(config, log)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Postgres, Valkey and S3 as `simyard up` runs them, but for fsync."""
    with Servers(tmp_path_factory.mktemp("servers"), durable=False) as servers:
        yield servers


@pytest.fixture(scope="session")
def migrated(servers: Servers) -> str:
    """The name of a migrated database, to make others from."""
    create_database(servers.database_url, "template_migrated", migrate=True)
    return "template_migrated"


@pytest.fixture(scope="session")
def lender(servers: Servers, migrated: str) -> Iterator[Lender]:
    lender = Lender(servers.database_url, migrated)
    yield lender
    lender.close()


@pytest.fixture
def database_url(lender: Lender) -> Iterator[str]:
    """An empty, migrated database that nobody else uses."""
    url = lender.lend()
    yield url
    lender.take_back(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url.replace("postgresql:", "postgresql+psycopg2:"), pool_size=10, application="test")
    yield database
    database.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole `simyard up`, one for each xdist worker."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
    written = (stack.data / "logs/web.log").read_text()
    assert "Listening at" in written
    assert "MonkeyPatchWarning" not in written  # what was loaded before gevent came would block everybody
