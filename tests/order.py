"""Which worker of pytest-xdist gets what, and when. Called by conftest: `sort` in each, `Scheduling` above them."""

from collections import Counter

import pytest
from xdist.scheduler import LoadScopeScheduling

# What takes longest, first, so that in the end no worker has much before it alone. The files of a row use the same
# stack: one worker gets them all, and no other starts one.
FIRST = (
    ("end_to_end/test_docs.py", "end_to_end/test_playbacks.py", "end_to_end/test_ingests.py",
     "end_to_end/test_excerpts.py", "end_to_end/test_bundles.py", "end_to_end/test_inputs.py",
     "integration/test_reasons.py", "integration/test_flower.py", "standalone/test_up.py"),
    ("integration/test_kills.py", "integration/test_restarts.py", "integration/test_streams.py"),
    ("webapp/test_serving.py",),
    ("end_to_end/test_schemathesis.py",),
    ("contract/test_given_cluster.py",),
    ("end_to_end/test_cluster.py",),
    ("webapp/test_install.py",),
    ("integration/test_traces.py",),
    ("workers/bags/test_kills.py",),
    ("standalone/test_failing_start.py",),
    ("standalone/test_servers.py",),
    ("standalone/test_users.py",),
)
PLACES = {f"tests/{file}": (row, place) for row, files in enumerate(FIRST) for place, file in enumerate(files)}
LAST = (len(FIRST), 0)


def sort(items: list[pytest.Item]) -> None:
    """Those of FIRST as they stand there, then the files with the most tests."""
    tests = Counter(map(_file, (item.nodeid for item in items)))
    items.sort(key=lambda item: (*PLACES.get(_file(item.nodeid), LAST), -tests[_file(item.nodeid)]))


class Scheduling(LoadScopeScheduling):
    """Files whole, and rows of FIRST as if they were files."""

    def _split_scope(self, nodeid: str) -> str:
        file = _file(nodeid)
        return f"row {PLACES[file][0]}" if file in PLACES else file


def _file(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]
