"""Mailboxes, who gets what, and the caps; the database is a list."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import QuotaExceeded, Unavailable
from webapp.streams.hub import Hub
from webapp.streams.mailboxes import Frame, Mailbox, Told, frame, share

ME, OTHER, THIRD = uuid4(), uuid4(), uuid4()
ONE, TWO = uuid4(), uuid4()


def mailbox(simulation: UUID | None = ONE, viewer: UUID | None = ME,
            cut: Callable[[], object] = lambda: None) -> Mailbox:
    return Mailbox(simulation, ME, viewer, cut)


def test_a_mailbox_gives_events_in_order_and_progress_after_them() -> None:
    box = mailbox()
    box.put([Frame(1, b"1", job="a"), Frame(None, b"old", job="a")])
    box.put([Frame(None, b"new", job="a"), Frame(None, b"b", job="b")])
    box.put([Frame(2, b"2", job="b")])
    assert box.take(0) == [Frame(1, b"1", job="a"), Frame(2, b"2", job="b"), Frame(None, b"new", job="a")]
    assert box.take(0) == []


def test_a_closed_mailbox_gives_nothing_more() -> None:
    box = mailbox()
    box.put([Frame(1, b"1")])
    box.close()
    assert box.take(0) is None


def test_a_closed_mailbox_keeps_nothing_that_comes_later() -> None:
    box = mailbox()
    box.close()
    box.put([Frame(1, b"1"), Frame(None, b"p", job="a")])
    assert not box._frames and not box._progress


def test_a_mailbox_that_runs_over_is_cut_once_not_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.streams.mailboxes.MAILBOX_SIZE", 2)
    cuts: list[int] = []
    box = mailbox(cut=lambda: cuts.append(1))
    box.put([Frame(1, b""), Frame(2, b"")])
    assert box.take(0) is not None
    box.put([Frame(3, b""), Frame(4, b""), Frame(5, b"")])
    box.put([Frame(6, b""), Frame(7, b""), Frame(8, b"")])
    assert box.take(0) is None
    assert cuts == [1]


def test_a_frame_is_one_line_of_data() -> None:
    made = frame("transition", {"message": "a\nb\r\n\u2028c"}, 7)
    assert made.data.startswith(b"id: 7\nevent: transition\ndata: ")
    assert made.data.endswith(b"\n\n") and made.data.count(b"\n") == 4 and b"\r" not in made.data
    assert frame("progress", {}).data == b"event: progress\ndata: {}\n\n"


TOLD = st.builds(Told, st.sampled_from([ONE, TWO, None]), st.sampled_from([ME, OTHER, None]), st.booleans(),
                 st.builds(Frame, st.integers(1), st.binary(max_size=3)))


@given(st.lists(TOLD), st.sampled_from([ONE, TWO, None]), st.sampled_from([ME, OTHER, THIRD, None]))
def test_a_stream_gets_its_simulation_or_what_its_viewer_may_see(
        told: list[Told], simulation: UUID | None, viewer: UUID | None) -> None:
    def belongs(each: Told) -> bool:
        if simulation is not None:
            return each.simulation == simulation
        return viewer is None or not each.private or each.owner == viewer

    got = share(told)(mailbox(simulation, viewer))
    assert [id(frame) for frame in got] == [id(each.frame) for each in told if belongs(each)]


# -- the hub -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """An event as the hub reads it."""

    number: int
    simulation: UUID | None = ONE
    holder: UUID | None = None
    private: bool = False
    job: None = None
    to_state: str = "RUNNING"


@dataclass
class Log:
    """The table of events, and what happens while it is read."""

    rows: list[Row] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    @contextmanager
    def single(self) -> Iterator[None]:
        yield None

    def last_number(self, _tx: None) -> int:
        return len(self.rows)

    def after(self, _tx: None, number: int, limit: int) -> list[Row]:
        found = self.rows[number:number + limit]
        self.meanwhile()
        return found

    def wire(self, row: Row) -> dict[str, Any]:
        return {"number": row.number, "job": None}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr("webapp.streams.hub.events", made)
    monkeypatch.setattr("webapp.streams.mailboxes.events", made)
    return made


def make_hub(log: Log) -> Hub:
    """One whose thread is the test."""
    made: Any = Hub(log, None)  # type: ignore[arg-type]
    made._thread = object()
    return made  # type: ignore[no-any-return]


@pytest.fixture
def hub(log: Log) -> Hub:
    return make_hub(log)


def test_as_many_streams_as_may_be_and_not_one_more(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.streams.hub.MAX_STREAMS", 3)
    monkeypatch.setattr("webapp.streams.hub.MAX_STREAMS_OF_USER", 2)
    mine = [hub.join(simulation, ME, ME) for simulation in (ONE, None)]
    with pytest.raises(QuotaExceeded):
        hub.join(TWO, ME, ME)
    hub.join(ONE, OTHER, OTHER)
    assert hub.streams == 3
    with pytest.raises(Unavailable):
        hub.join(ONE, THIRD, THIRD)
    hub.leave(mine[0])
    hub.leave(mine[0])  # twice counts once
    hub.join(ONE, THIRD, THIRD)
    assert hub.streams == 3


def test_a_database_that_is_slow_holds_up_nobody_but_who_asks_it(hub: Hub, log: Log) -> None:
    asks, over, boxes = threading.Event(), threading.Event(), list[Mailbox]()
    read = log.last_number

    def read_slowly(tx: None) -> int:
        number = read(tx)
        log.last_number = read  # type: ignore[method-assign]
        asks.set()
        over.wait(10)
        return number

    log.last_number = read_slowly  # type: ignore[method-assign]
    first = threading.Thread(target=lambda: boxes.append(hub.join(ONE, ME, ME)))
    first.start()
    assert asks.wait(10)
    second = hub.join(ONE, OTHER, OTHER)
    assert not boxes, "it had to wait for the other"
    log.rows.append(Row(1))
    hub._fetch([])
    assert [each.number for each in second.take(0) or []] == [1]
    over.set()
    first.join()
    log.rows.append(Row(2))
    hub._fetch([])
    assert [[each.number for each in box.take(0) or []] for box in (*boxes, second)] == [[2], [2]]


def test_an_error_nobody_thought_of_cuts_every_stream_rather_than_leave_a_gap(
        hub: Hub, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.streams.hub.DOWN_SECONDS", 0)
    box = hub.join(ONE, ME, ME)

    def listen(_: float) -> Iterator[list[str]]:
        yield []
        hub.closing.set()
        yield []

    def fail() -> None:
        log.meanwhile = lambda: None
        raise ValueError("odd")

    hub._pubsub = type("PubSub", (), {"listen": staticmethod(listen)})()  # type: ignore[assignment]
    log.rows.append(Row(1))
    log.meanwhile = fail
    hub._run()
    assert box.take(0) is None


def interleavings(sequences: dict[str, int]) -> Iterator[str]:
    """Every order in which these letters can come, each so many times."""
    left = {letter: count for letter, count in sequences.items() if count}
    if not left:
        yield ""
    for letter, count in left.items():
        for rest in interleavings(left | {letter: count - 1}):
            yield letter + rest


class Client:
    """Joins in two steps, opens at one moment, follows, leaves, and comes again with its last id: as the hub and
    webapp.api.events do it."""

    def __init__(self, hub: Hub, log: Log, simulation: UUID | None) -> None:
        self.hub, self.log, self.simulation = hub, log, simulation
        self.last: int | None = None
        self.first = 0
        self.seen: list[int] = []
        self.box: Mailbox | None = None
        self.number: int | None = None
        self.steps = [self.ask, self.join, self.open, self.leave, self.ask, self.join, self.open]

    def ask(self) -> None:
        self.box = mailbox(self.simulation, None)
        self.number = None if self.hub._enter(self.box) else self.log.last_number(None)

    def join(self) -> None:
        assert self.box is not None
        assert self.number is None or self.hub._enter(self.box, self.number)

    def open(self) -> None:
        number = self.log.last_number(None)
        if self.last is None:
            self.first = number
        else:
            self.seen += [row.number for row in self.log.rows[self.last:] if self.wants(row)]
        self.last = number

    def take(self) -> None:
        assert self.box is not None and self.last is not None
        for each in self.box.take(0) or []:
            if each.number is not None and each.number > self.last:
                self.seen.append(each.number)
                self.last = each.number

    def leave(self) -> None:
        assert self.box is not None
        self.take()
        self.last = self.seen[-1] if self.seen else self.first  # what its last id says
        self.hub.leave(self.box)

    def wants(self, row: Row) -> bool:
        return self.simulation in (None, row.simulation)


@pytest.mark.parametrize("watched", [ONE, None])
@pytest.mark.parametrize("another", [
    pytest.param(False, id="alone"),
    pytest.param(True, id="beside-another", marks=pytest.mark.long)])  # 51 thousand orders more
def test_no_order_of_things_makes_a_gap_or_a_duplicate(
        log: Log, monkeypatch: pytest.MonkeyPatch, watched: UUID | None, another: bool) -> None:
    """w: an event is written; r: the hub reads or, after that, hands out what it read; c: the client's next step."""
    monkeypatch.setattr("webapp.streams.hub.REST_SECONDS", 0)
    for order in interleavings({"w": 2, "r": 4, "c": 7}):
        log.rows, hub = [Row(1)], make_hub(log)
        client, steps = Client(hub, log, watched), iter(order)
        if another:
            hub.join(TWO, OTHER, None)
        todo = iter(client.steps)

        def go(*, reading: bool) -> None:
            """Take the steps; the hub's are to read and to hand out, in turns."""
            for step in steps:  # noqa: B023
                if step == "w":
                    log.rows.append(Row(len(log.rows) + 1, ONE if len(log.rows) % 3 else TWO))
                elif step == "c":
                    next(todo)()  # noqa: B023
                elif reading:
                    return
                else:
                    log.meanwhile = lambda: go(reading=True)
                    hub._fetch([])  # noqa: B023

        go(reading=False)
        log.meanwhile = lambda: None
        hub._fetch([])  # the poll that comes in the end
        client.take()
        assert client.seen == [row.number for row in log.rows[client.first:] if client.wants(row)], order
