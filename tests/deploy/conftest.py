"""The cluster that the scripts of this folder's tests are let loose on."""

from pathlib import Path

import pytest

from tests.deploy.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)
