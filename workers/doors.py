"""What tasks, watcher and drain work with: the connections and the runtime, made once a process from the settings."""

from dataclasses import dataclass
from functools import partial

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
    address = address_from(settings.simyard_endpoints, settings.simyard_internal_url)
    runtime = LocalRuntime(settings.storage_base_dir, address, settings.for_programs())
    return Doors(connections, counting(runtime, partial(connections.failures.count, "runtime")))
