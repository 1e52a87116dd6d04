"""A Kubernetes cluster for tests, without a cluster: an API server that is faithful where it matters, a scheduler, and
nodes that run the containers of pods as processes of this machine. `Cluster(folder)` is all of it."""

from tests.cluster.cluster import Cluster, main_state
from tests.cluster.containers import Image
from tests.cluster.node import Capacity, Delays

__all__ = ["Capacity", "Cluster", "Delays", "Image", "main_state"]
