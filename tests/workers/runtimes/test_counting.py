"""A runtime whose failed calls are counted is the same runtime otherwise."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from shared.domain.errors import Unavailable
from tests.fakes import FakeRuntime
from workers.runtimes.base import Name, Runtime, Seen
from workers.runtimes.counting import counting

NAME = Name(uuid4(), 1)


class Broken(FakeRuntime):
    def stop(self, name: Name, signal_number: int) -> bool:
        raise Unavailable("it does not answer")

    def names(self) -> Iterator[Name]:
        raise OSError("the folder is gone")
        yield


def test_calls_go_through_and_those_that_raise_are_counted() -> None:
    failed: list[str] = []
    runtime = counting(Broken(), failed.append)
    assert (runtime.host, runtime.boot) == ("fake", "fake")
    assert runtime.observe(NAME).seen == Seen.ABSENT
    with pytest.raises(Unavailable):
        runtime.stop(NAME, 2)
    with pytest.raises(OSError, match="gone"):
        runtime.names()
    assert failed == ["stop", "names"]


def test_it_has_every_call_of_the_contract() -> None:
    runtime = counting(FakeRuntime(), lambda call: None)
    contract = {name for name in vars(Runtime) if not name.startswith("_")} | set(Runtime.__annotations__)
    assert [name for name in sorted(contract) if not hasattr(runtime, name)] == []
