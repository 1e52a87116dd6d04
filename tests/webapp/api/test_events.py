import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from shared.domain.events import Event
from shared.domain.states import State
from shared.persistence.models import events
from shared.settings import WebSettings
from tests.waiting import until
from tests.webapp.stream import Events
from tests.webapp.web import API, User, Web, problem


@contextmanager
def streaming(web: Web, user: User, simulation: str, last_id: object = None) -> Iterator[Events]:
    """A stream for the length of the block; those of this simulation that go on after it are cut."""
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    response = user.open("GET", f"/simulations/{simulation}/events", headers=headers, buffered=False)
    assert response.status_code == 200, response.get_data()
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    stream = Events(response.iter_encoded())
    try:
        yield stream
    finally:
        for mailbox in list(web.parts.hub._mailboxes.get(UUID(simulation), ())):
            mailbox.close()
        stream.thread.join(30)
        response.close()


def live_a_life(web: Web, job: UUID) -> None:
    web.start(job)
    web.finish(job, passed=True)


def numbers_of(web: Web, simulation: str) -> list[int]:
    with web.database.transaction() as tx:
        return list(tx.execute(select(events.c.number).where(events.c.simulation == UUID(simulation))
                               .order_by(events.c.number)).scalars())


def test_begins_with_a_snapshot_and_goes_on_to_the_end(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=5)
    first, *others = web.jobs(simulation)
    web.settle()
    with streaming(web, operator, simulation) as stream:
        reset = stream.wait("reset")
        assert reset.id == reset.data["number"]
        assert reset.data["simulation"] == operator.get(f"/simulations/{simulation}/status")
        assert {job["state"] for job in reset.data["jobs"]} == {"STARTING"}
        assert len(reset.data["jobs"]) == 4
        live_a_life(web, first)
        for job in others:
            operator.post(f"/instances/{job}/cancel", status=202)
        end = stream.wait("end")
        assert stream.ended()
    assert stream.all[-1] == end
    assert stream.numbers() == [number for number in numbers_of(web, simulation) if number > (reset.id or 0)]
    moves = [event.data for event in stream.of("transition") if event.data["job"] == str(first)]
    assert [move["state"] for move in moves] == ["RUNNING", "COLLECTING", "SUCCEEDED"]
    assert set(moves[0]) == {
        "number", "simulation", "job", "kind", "state", "phase", "reason", "at", "attempt", "progress"}
    assert stream.of("simulation")[-1].data["state"] == "CANCELLED"
    assert stream.of("simulation")[-1].data["kind"] == "simulation"


def test_what_has_ended_gives_a_snapshot_and_the_end(web: Web, operator: User) -> None:
    simulation = operator.submit()
    live_a_life(web, *web.jobs(simulation))
    with streaming(web, operator, simulation) as stream:
        assert stream.ended()
    assert [event.kind for event in stream.all] == ["reset", "end"]
    assert stream.all[0].data["simulation"]["state"] == "SUCCEEDED"
    with streaming(web, operator, simulation, stream.all[-1].id) as again:
        assert again.ended()
    assert [event.kind for event in again.all] == ["end"]


def test_a_known_id_replays_what_was_missed_and_nothing_else(web: Web, operator: User) -> None:
    simulation, other = operator.submit(), operator.submit()
    web.settle()
    live_a_life(web, *web.jobs(other))
    live_a_life(web, *web.jobs(simulation))
    whole = numbers_of(web, simulation)
    for place in range(len(whole)):
        with streaming(web, operator, simulation, whole[place]) as stream:
            assert stream.ended()
        assert stream.numbers() == whole[place + 1:]
    with streaming(web, operator, simulation, 0) as stream:
        assert stream.ended()
    assert stream.numbers() == whole
    response = operator.open("GET", f"/simulations/{simulation}/events?last_event_id={whole[0]}")
    assert response.get_data(as_text=True).count("event: transition") == 4
    response.close()


def test_an_unknown_id_is_answered_by_a_reset(web: Web, operator: User) -> None:
    simulation = operator.submit()
    web.settle()
    for last_id in ("999999999", "x", "-1", "1.5", "9" * 40, ""):
        with streaming(web, operator, simulation, last_id) as stream:
            assert stream.wait("reset").id == numbers_of(web, simulation)[-1]


def test_too_much_to_replay_is_answered_by_a_reset(web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.api.events.MAX_REPLAY", 3)
    simulation = operator.submit()
    live_a_life(web, *web.jobs(simulation))
    with streaming(web, operator, simulation, 0) as stream:
        assert stream.wait("reset")
    with streaming(web, operator, simulation, numbers_of(web, simulation)[-4]) as stream:
        assert stream.ended()
    assert stream.of("reset") == []


def test_neither_gap_nor_duplicate_however_often_one_comes_back(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=12)
    last: list[int] = []
    seen: list[int] = []
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            with streaming(web, operator, simulation, last[-1] if last else 0) as stream:
                before = len(stream.numbers())
                until(lambda: len(stream.numbers()) > before or stream.of("end") or done.is_set())  # noqa: B023
            seen.extend(stream.numbers())
            last.extend(stream.numbers()[-1:])
            if stream.of("end"):
                return

    client = threading.Thread(target=come_and_go)
    client.start()
    for job in web.jobs(simulation):
        until(lambda: operator.get(f"/instances/{job}")["state"] == "STARTING")  # noqa: B023
        live_a_life(web, job)
    client.join(60)
    done.set()
    assert seen == numbers_of(web, simulation)


def test_many_streams_get_the_same(web: Web, operator: User) -> None:
    simulation = operator.submit()
    [job] = web.jobs(simulation)
    web.settle()
    streams = []
    responses = [operator.open("GET", f"/simulations/{simulation}/events", buffered=False) for _ in range(20)]
    streams = [Events(response.iter_encoded()) for response in responses]
    for stream in streams:
        stream.wait("reset")
    live_a_life(web, job)
    assert all(stream.ended() for stream in streams)
    assert {tuple(stream.numbers()) for stream in streams} == {tuple(streams[0].numbers())}
    for response in responses:
        response.close()
    assert not web.parts.hub._mailboxes


def test_progress_is_passed_on_without_an_id(web: Web, operator: User) -> None:
    simulation = operator.submit()
    [job] = web.jobs(simulation)
    web.start(job)
    with streaming(web, operator, simulation) as stream:
        stream.wait("reset")

        def report() -> bool:
            web.connections.pubsub.publish([Event(
                None, UUID(simulation), job, "instance", State.RUNNING, None, datetime.now(UTC), 1, {"percent": 40})])
            return bool(stream.of("progress"))

        until(report)
        frame = stream.of("progress")[0]
    assert frame.id is None
    assert frame.data["number"] is None
    assert frame.data["progress"] == {"percent": 40}


def test_with_redis_down_events_still_come(web: Web, operator: User, settings: WebSettings,
                                           make_web: Callable[[WebSettings], Web]) -> None:
    cut = make_web(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")}))
    simulation = operator.submit()
    [job] = web.jobs(simulation)
    operator.client = cut.app.test_client()
    with streaming(cut, operator, simulation) as stream:
        stream.wait("reset")
        live_a_life(web, job)
        assert stream.ended()
    assert stream.of("end")


def test_rubbish_on_the_channel_harms_nobody(web: Web, operator: User) -> None:
    simulation = operator.submit()
    [job] = web.jobs(simulation)
    web.settle()
    with streaming(web, operator, simulation) as stream:
        stream.wait("reset")
        for rubbish in ("x", "[]", "{}", "null", '{"number": "a", "simulation": 3}',
                        '{"number": 99999, "simulation": null}'):
            web.connections.redis.publish("simyard:events", rubbish)
        live_a_life(web, job)
        assert stream.ended()
    assert stream.of("end")


def test_silence_is_broken_by_comments(web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.api.events.HEARTBEAT_SECONDS", 0.05)
    with streaming(web, operator, operator.submit()) as stream:
        until(lambda: stream.comments > 2)
        monkeypatch.setattr(web.parts.accounts, "find", lambda _: None)  # deleted meanwhile
        assert stream.ended()
    assert stream.of("end") == []


def test_a_slow_reader_is_cut_and_comes_again(web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.hub.MAILBOX_SIZE", 3)
    simulation = operator.submit(repeats=4)
    web.settle()
    response = operator.open("GET", f"/simulations/{simulation}/events", buffered=False)
    chunks = response.iter_encoded()
    assert b"event: reset" in next(chunks)
    for job in web.jobs(simulation):
        web.start(job)
    mailbox = next(iter(web.parts.hub._mailboxes[UUID(simulation)]))
    until(lambda: mailbox._closed)
    assert list(chunks) == []
    response.close()


def test_streams_end_when_web_does(web: Web, operator: User) -> None:
    simulation = operator.submit()
    with streaming(web, operator, simulation) as stream:
        stream.wait("reset")
        web.parts.close()
        assert stream.ended()
    with streaming(web, operator, simulation) as late:
        assert late.ended()


def test_a_missing_simulation_leaves_nothing_behind(web: Web, operator: User) -> None:
    problem(operator.open("GET", f"/simulations/{uuid4()}/events"), 404, "not_found")
    assert not web.parts.hub._mailboxes


def test_with_the_database_down_it_is_503(lonely: Web, web: Web, operator: User) -> None:
    lonely.parts.accounts._cache.update({operator.id: (1e12, web.parts.accounts.find(operator.id))})
    response = lonely.app.test_client().get(f"{API}/simulations/{uuid4()}/events", headers=operator.headers({}))
    problem(response, 503, "database_unavailable")
