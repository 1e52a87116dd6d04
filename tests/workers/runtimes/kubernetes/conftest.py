"""A cluster in this process, and the runtime on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, Delays, Image
from tests.fakes import FakeWeb
from workers.runtimes.kubernetes.cluster import Cluster as Api
from workers.runtimes.kubernetes.pods import Site
from workers.runtimes.kubernetes.runtime import KubernetesRuntime


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    with FakeWeb() as web:
        yield web


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A second of a grace period lasts a twentieth of one."""
    images = {"sim:1": Image(), "worker:1": Image(), "bare:1": Image(entrypoint=["/bin/sh", "-c", "exit 4"])}
    with Cluster(tmp_path, images=images, delays=Delays(second=0.05)) as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return Api("robot-sims", cluster.kubeconfig)


@pytest.fixture
def runtime(api: Api, web: FakeWeb) -> Iterator[KubernetesRuntime]:
    runtime = KubernetesRuntime(Site("test", "robot-sims", "worker:1", web.url), api)
    yield runtime
    runtime.close()
