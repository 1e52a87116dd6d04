"""A Kubernetes cluster for tests, without a cluster: an API server that is faithful where it matters, a scheduler, and
nodes that run the containers of pods as processes of this machine. `Cluster(folder)` is all of it; `python -m
tests.cluster` is one in a process of its own.

Orders of tests: `cluster.server` is started, stopped, and told who may do what; `cluster.server.faults` is what goes
wrong on the way to it; `cluster.node` is what happens to pods. `cluster.server.calls` is what was asked.

A request goes through handler (HTTP), registry (rules), schema, validation and security (what is not taken), patches,
store (objects, revisions, the past) and watches. A pod goes through scheduler, node, pods (its life), containers and
ending, volumes, spawner and supervisor (its processes).

It was held against kube-apiserver 1.20.2, some 380 requests and what watches told of them; where later versions are
known to do otherwise, it does as they do. Left as they are: the words and codes of what cannot be decoded, causes that
Kubernetes names twice, dryRun of anything but create, and pages that go on after their token expired.

Not here, and for a real cluster to show: users and modes of files, read-only file systems, networks, memory and disk
limits (they are ordered: oom_kill, evict), probes, secrets, config maps, and every resource but pods and namespaces."""

from tests.cluster.cluster import Cluster, main_state
from tests.cluster.containers import Image
from tests.cluster.node import Capacity, Delays

__all__ = ["Capacity", "Cluster", "Delays", "Image", "main_state"]
