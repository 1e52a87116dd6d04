"""The stack that these tests break."""

from collections.abc import Iterator

import pytest

from tests.stack import Stack


@pytest.fixture(scope="package")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with two workers and two watchers, to be broken in any way that it mends by itself."""
    with Stack(tmp_path_factory.mktemp("own"), "--workers", "2", "--watchers", "2") as stack:
        yield stack
