"""The cluster that the scripts of this folder's tests are let loose on."""

from pathlib import Path

import pytest

from tests.deploy.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture(scope="package")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """One that `install.sh` has gone through on; to be looked at only."""
    cluster = Cluster(tmp_path_factory.mktemp("installed"))
    done = cluster.run("install.sh")
    assert (done.returncode, done.stderr) == (0, "")
    return cluster


@pytest.fixture(scope="package")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """One that `server-renew.sh` has gone through on; to be looked at only."""
    cluster = Cluster(tmp_path_factory.mktemp("renewed"))
    done = cluster.run("server-renew.sh", "--logs")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if " of 6: " in line] == [
        line for step in range(1, 7) for line in done.stdout.splitlines() if line.startswith(f"== {step} of 6: ")]
    return cluster
