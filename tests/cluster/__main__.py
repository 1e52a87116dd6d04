"""A cluster in a process of its own: `python -m tests.cluster FOLDER [IMAGE ...]`. It says where its kubeconfig
is, answers each line on stdin with the counts of calls so far, and ends with stdin. Without an image it has no node
and no scheduler: pods stay as they were made, and whoever patches their status is their kubelet."""

import json
import sys
from collections import Counter
from pathlib import Path

from tests.cluster import Cluster, Delays, Image


def main() -> None:
    """Serve until stdin ends."""
    folder, *names = sys.argv[1:]
    images = {name: Image() for name in names}
    with Cluster(Path(folder), images=images, nodes=1 if images else 0, delays=Delays(second=0.05)) as cluster:
        print(cluster.kubeconfig, flush=True)
        for _ in sys.stdin:
            counts = Counter(f"{call.verb} {call.resource}" for call in list(cluster.server.calls))
            print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
