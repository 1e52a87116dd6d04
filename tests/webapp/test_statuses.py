"""Many who ask share a statement, and none is given what was read before he asked; the database is a number."""

import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.domain.errors import Unavailable
from tests.waiting import until
from webapp.statuses import Statuses

ONE, TWO, OWNER = uuid4(), uuid4(), uuid4()


class Table:
    """Simulations whose state is a number; reading it takes until it is let go on."""

    def __init__(self) -> None:
        self.state = 0
        self.asked: list[set[UUID]] = []
        self.private = False
        self.failure: Exception | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    @contextmanager
    def single(self) -> Iterator[None]:
        yield None

    def statuses(self, _tx: None, wanted: Collection[UUID]) -> dict[UUID, Any]:
        state = self.state
        self.asked.append(set(wanted))
        assert self.may_go_on.wait(30)
        if self.failure:
            raise self.failure
        return {each: ({"state": state}, OWNER, self.private) for each in wanted if each != TWO}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = Table()
    monkeypatch.setattr("webapp.statuses.simulations", made)
    return made


@pytest.fixture
def statuses(table: Table) -> Statuses:
    return Statuses(table)  # type: ignore[arg-type]


def test_those_who_ask_while_it_is_read_share_the_next_statement(table: Table, statuses: Statuses) -> None:
    table.may_go_on.clear()
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(statuses.find, ONE, None)
        until(lambda: table.asked)
        table.state = 1
        others = [pool.submit(statuses.find, simulation, None) for simulation in (ONE, TWO) * 10]
        until(lambda: statuses._next.waiting == 20)
        table.may_go_on.set()
        assert first.result().body == b'{"state": 0}\n'  # type: ignore[union-attr]
        found = [each.result() for each in others]
    assert {each.body for each in found[::2] if each} == {b'{"state": 1}\n'}
    assert found[1::2] == [None] * 10
    assert table.asked == [{ONE}, {ONE, TWO}]


def test_what_has_not_changed_has_the_same_etag_and_what_has_another(table: Table, statuses: Statuses) -> None:
    etags = []
    for state in (0, 0, 1):
        table.state = state
        etags.append(statuses.find(ONE, None).etag)  # type: ignore[union-attr]
    assert etags[0] == etags[1] != etags[2]


def test_what_is_private_is_its_owners_and_an_admins(table: Table, statuses: Statuses) -> None:
    table.private = True
    assert statuses.find(ONE, OWNER)
    assert statuses.find(ONE, None)
    assert statuses.find(ONE, uuid4()) is None


@pytest.mark.parametrize("failure", [Unavailable("it is down"), ValueError("odd")])
def test_a_failure_is_told_to_those_who_asked_and_to_no_one_later(
        table: Table, statuses: Statuses, failure: Exception) -> None:
    table.failure = failure
    with pytest.raises(Unavailable):
        statuses.find(ONE, None)
    table.failure = None
    assert statuses.find(ONE, None)
