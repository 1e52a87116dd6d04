"""What tasks, watcher and drain work with: the connections and the runtime, made once a process from the settings."""

from dataclasses import dataclass
from functools import partial
from importlib import import_module

from celery import Celery

from shared.connections import Connections
from shared.settings import WorkerSettings
from workers.runtimes.base import Runtime
from workers.runtimes.counting import counting
from workers.runtimes.local import LocalRuntime, address_from


@dataclass(frozen=True)
class Doors:
    """Everything a worker process reaches for."""

    connections: Connections
    runtime: Runtime


def open_doors(settings: WorkerSettings, *, application: str, celery: Celery | None = None) -> Doors:
    """The doors of this process; nothing is connected before it is used."""
    connections = Connections(settings, application=application, pool_size=2, celery=celery)
    return Doors(connections, counting(_runtime(settings), partial(connections.failures.count, "runtime")))


def load(settings: WorkerSettings) -> None:
    """Load what the doors are made of, before processes are forked off that would each do so at their first task."""
    if settings.runtime == "kubernetes":
        import_module("workers.runtimes.kubernetes.runtime")


def _runtime(settings: WorkerSettings) -> Runtime:
    if settings.runtime == "kubernetes":
        # Only here, for the client takes a third of a second to load.
        from workers.runtimes.kubernetes.cluster import Cluster  # noqa: PLC0415
        from workers.runtimes.kubernetes.pods import Site  # noqa: PLC0415
        from workers.runtimes.kubernetes.runtime import KubernetesRuntime  # noqa: PLC0415

        site = Site(settings.kube_namespace, settings.sim_namespace, str(settings.recorder_image),
                    settings.simyard_internal_url)
        return KubernetesRuntime(site, Cluster(settings.sim_namespace, settings.kubeconfig))
    address = address_from(settings.simyard_endpoints, settings.simyard_internal_url)
    return LocalRuntime(settings.base_dir, address, settings.for_programs(), settings.simyard_player_host)
