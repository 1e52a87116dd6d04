"""A cluster in a process of its own: `python -m tests.cluster FOLDER [IMAGE ...]`. It says where its kubeconfig
is, answers each line on stdin with the counts of calls so far, and ends with stdin. Without an image it has no node
and no scheduler: pods stay as they were made, and whoever patches their status is their kubelet."""

import json
import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

from tests.cluster import Cluster, Delays, Image


def main() -> None:
    """Serve until stdin ends."""
    parser = ArgumentParser(prog="python -m tests.cluster")
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", nargs="*")
    parser.add_argument("--create-seconds", type=float, default=0.0, help="what a create takes besides")
    options = parser.parse_args()
    images = {name: Image() for name in options.images}
    nodes = 1 if images else 0
    with Cluster(options.folder, images=images, nodes=nodes, delays=Delays(second=0.05)) as cluster:
        cluster.server.create_seconds = options.create_seconds
        print(cluster.kubeconfig, flush=True)
        for _ in sys.stdin:
            counts = Counter(" ".join(filter(None, (call.verb, call.resource, call.subresource)))
                             for call in list(cluster.server.calls))
            print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
