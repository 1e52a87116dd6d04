"""Counting failed calls, which must neither fail nor wait."""

import threading

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import Unavailable
from shared.messaging.failures import Failures
from tests.waiting import until


def make() -> tuple[fakeredis.FakeServer, Failures]:
    server = fakeredis.FakeServer()
    fakeredis.FakeRedis(server=server).ping()  # two threads that come first at once get a database each
    return server, Failures(fakeredis.FakeRedis(server=server, decode_responses=True))


def told(failures: Failures, expected: dict[tuple[str, str], int]) -> None:
    until(lambda: failures.read() == expected)


@given(st.lists(st.tuples(st.sampled_from(["storage", "runtime"]), st.sampled_from(["start", "stat", "a.b"]))))
def test_every_failure_is_counted_whichever_process_tells_of_it(calls: list[tuple[str, str]]) -> None:
    server, mine = make()
    theirs = Failures(fakeredis.FakeRedis(server=server, decode_responses=True))
    for place, (part, call) in enumerate(calls):
        (mine, theirs)[place % 2].count(part, call)
    told(mine, {each: calls.count(each) for each in calls})


def test_what_redis_does_not_take_goes_with_the_next() -> None:
    server, failures = make()
    server.connected = False
    failures.count("storage", "stat")
    until(lambda: not any(thread.name == "failures" for thread in threading.enumerate()))
    with pytest.raises(Unavailable):
        failures.read()
    server.connected = True
    failures.count("storage", "stat")
    failures.count("runtime", "stop")
    told(failures, {("storage", "stat"): 2, ("runtime", "stop"): 1})


def test_who_counts_does_not_wait_for_redis() -> None:
    let = threading.Event()

    class Slow(fakeredis.FakeRedis):
        def pipeline(self, *args: object, **options: object) -> object:
            let.wait(30)
            return super().pipeline(*args, **options)

    slow = Slow(server=fakeredis.FakeServer(), decode_responses=True)
    slow.ping()
    failures = Failures(slow)
    for _ in range(3):
        failures.count("storage", "stat")
    assert not let.is_set()  # all three are through, and nothing could be written
    let.set()
    told(failures, {("storage", "stat"): 3})


def test_what_is_counted_last_is_written_before_the_end() -> None:
    _, failures = make()
    failures.count("storage", "stat")
    failures.close()
    assert failures.read() == {("storage", "stat"): 1}


def test_a_client_that_is_closed_meanwhile_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Closed(fakeredis.FakeRedis):
        def pipeline(self, *args: object, **options: object) -> object:
            raise AttributeError("'NoneType' object has no attribute 'readline'")

    caplog.set_level("DEBUG")
    failures = Failures(Closed(decode_responses=True))
    failures.count("storage", "stat")
    failures.close()
    assert "not counted yet" in caplog.text
