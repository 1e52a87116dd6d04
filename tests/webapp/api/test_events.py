import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from shared.domain.errors import Unavailable
from shared.domain.events import Event
from shared.domain.states import State
from shared.persistence.models import events, users
from shared.settings import WebSettings
from tests.waiting import until
from tests.webapp.api.test_bundles import add_bundle
from tests.webapp.stream import Events
from tests.webapp.web import API, User, Web, problem
from webapp.streams.mailboxes import Frame


@contextmanager
def streaming(web: Web, user: User, simulation: str | None, last_id: object = None) -> Iterator[Events]:
    """A stream for the length of the block; the user's of the same that go on after it are cut."""
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    path = f"/simulations/{simulation}/events" if simulation else "/events"
    response = user.open("GET", path, headers=headers, buffered=False)
    assert response.status_code == 200, response.get_data()
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    stream = Events(response.iter_encoded())
    try:
        yield stream
    finally:
        for mailbox in list(web.parts.hub._mailboxes.get(UUID(simulation) if simulation else None, ())):
            if mailbox.user == user.id:
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


def test_a_snapshot_of_more_instances_than_may_be_is_cut_and_says_so(
        web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = operator.submit(repeats=4)
    web.settle()
    for job in (jobs := web.jobs(simulation))[:3]:
        web.start(job)
    for most, shown, cut in ((4, [*jobs[2::-1], jobs[3]], False), (3, jobs[2::-1], True), (2, jobs[2:0:-1], True)):
        monkeypatch.setattr("webapp.api.events.MAX_JOBS", most)
        with streaming(web, operator, simulation) as stream:
            reset = stream.wait("reset").data
        assert set(reset) == {"number", "simulation", "jobs", "cut"}
        assert ([job["job"] for job in reset["jobs"]], reset["cut"]) == (list(map(str, shown)), cut)


def test_a_stream_lets_go_of_what_it_began_with(web: Web, operator: User) -> None:
    simulation = operator.submit()
    (job,) = web.jobs(simulation)
    web.settle()
    with streaming(web, operator, simulation) as stream:
        stream.wait("reset")
        web.start(job)
        stream.wait("transition")
        gc.collect()
        kept = [each for each in gc.get_objects() if isinstance(each, Frame) and b"event: reset" in each.data]
    assert kept == []


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


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("deed", ["deletes", "disables", "demotes", "logs out"])
def test_who_is_let_in_no_more_is_cut_at_the_next_heartbeat(
        web: Web, monkeypatch: pytest.MonkeyPatch, deed: str, busy: bool, everything: bool) -> None:
    monkeypatch.setattr("webapp.api.events.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("webapp.auth.accounts.CACHE_SECONDS", 0)
    operator = web.user("operator")
    simulation = operator.submit()
    with streaming(web, operator, None if everything else simulation) as stream:
        stream.wait("reset")
        if busy:  # always something to say, never silence
            monkeypatch.setattr("webapp.streams.mailboxes.Mailbox.take", lambda box, _: None if box._closed else [
                Frame(None, b"event: progress\ndata: {}\n\n")])
        until(lambda: stream.comments > 2 or busy)
        if deed == "logs out":
            operator.post("/auth/logout", status=204)
        else:
            changes = {"deletes": {"email": "gone"}, "disables": {"disabled": True}, "demotes": {"role": "viewer"}}
            with web.database.transaction() as tx:
                tx.execute(update(users).where(users.c.id == operator.id).values(changes[deed]))
            if deed == "deletes":
                monkeypatch.setattr("webapp.queries.users.by_id", lambda *_: None)
            web.parts.accounts._cache.clear()
        assert stream.ended()
    assert stream.of("end") == []


def test_nobody_is_cut_because_the_database_restarts(
        web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.api.events.HEARTBEAT_SECONDS", 0.05)
    with streaming(web, operator, operator.submit()) as stream:
        stream.wait("reset")

        def unavailable(_: object) -> None:
            raise Unavailable("restarts")

        monkeypatch.setattr(web.parts.accounts, "find", unavailable)
        before = stream.comments
        until(lambda: stream.comments > before + 2)


def test_more_streams_than_may_be_are_refused(web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.streams.hub.MAX_STREAMS", 3)
    monkeypatch.setattr("webapp.streams.hub.MAX_STREAMS_OF_USER", 2)
    simulation, other = operator.submit(), web.user("viewer")
    paths = ["/events", f"/simulations/{simulation}/events"]
    opened = [operator.open("GET", path, buffered=False) for path in paths]
    refused = operator.open("GET", paths[0])
    problem(refused, 429, "too_many_streams")
    assert int(refused.headers["Retry-After"]) > 0
    opened.append(other.open("GET", paths[0], buffered=False))
    assert [each.status_code for each in opened] == [200] * 3
    refused = other.open("GET", paths[1])
    problem(refused, 503, "too_many_streams")
    assert int(refused.headers["Retry-After"]) > 0
    assert web.parts.hub.streams == 3
    opened.pop().close()
    opened.append(other.open("GET", paths[1], buffered=False))
    assert opened[-1].status_code == 200
    for each in opened:
        each.close()
    assert web.parts.hub.streams == 0


def test_a_slow_reader_is_cut_and_comes_again(web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.streams.mailboxes.MAILBOX_SIZE", 3)
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


# -- everything ------------------------------------------------------------------------------------------------------


def all_numbers(web: Web) -> list[int]:
    with web.database.transaction() as tx:
        return list(tx.execute(select(events.c.number).order_by(events.c.number)).scalars())


def playback(user: User, web: Web, **bundle: object) -> str:
    readable = add_bundle(web, user.id, index_key="index", **bundle)
    made: str = user.post("/playbacks", {"bundle": str(readable)}, status=202)["id"]
    web.settle()
    return made


def test_everything_begins_with_what_has_not_ended_and_never_ends(web: Web, operator: User) -> None:
    over, running, waiting = operator.submit(), operator.submit(repeats=2), operator.submit(repeats=3)
    live_a_life(web, *web.jobs(over))
    web.start(web.jobs(running)[0])
    played = playback(operator, web)
    with streaming(web, operator, None) as stream:
        reset = stream.wait("reset")
        assert set(reset.data) == {"number", "simulations", "jobs", "cut"}
        assert (reset.id, reset.data["cut"]) == (reset.data["number"], False)
        assert reset.data["simulations"] == [
            operator.get(f"/simulations/{simulation}/status") for simulation in (waiting, running)]
        states = {job["job"]: job["state"] for job in reset.data["jobs"]}
        assert states.pop(played) == "STARTING"
        assert sorted(states.values()) == ["RUNNING", "STARTING", "STARTING", "STARTING"]
        assert [job["number"] for job in reset.data["jobs"]] == sorted(
            (job["number"] for job in reset.data["jobs"]), reverse=True)
        web.finish(web.jobs(running)[0])
        for job in web.jobs(running)[1:]:
            operator.post(f"/instances/{job}/cancel", status=202)
        web.settle()
        late = operator.submit()
        until(lambda: [each for each in stream.of("simulation") if each.data["simulation"] == late])
        web.settle()
        until(lambda: stream.numbers()[-1:] == all_numbers(web)[-1:])
    assert stream.numbers() == [number for number in all_numbers(web) if number > reset.data["number"]]
    assert stream.of("end") == []


def test_a_snapshot_and_what_follows_add_up(web: Web, operator: User) -> None:
    """The counts of a client that begins with the snapshot and follows are those of the status."""
    simulation = operator.submit(repeats=6)
    jobs = web.jobs(simulation)
    web.settle()
    live_a_life(web, jobs[0])
    web.start(jobs[1])
    with streaming(web, operator, None) as stream:
        reset = stream.wait("reset")
        web.finish(jobs[1])
        for job in jobs[2:]:
            operator.post(f"/instances/{job}/cancel", status=202)
        web.settle()
        until(lambda: stream.numbers()[-1:] == all_numbers(web)[-1:])
    counts = dict(reset.data["simulations"][0]["counts"])
    states = {job["job"]: job["state"] for job in reset.data["jobs"]}
    for move in stream.of("transition"):
        counts[states.get(move.data["job"], "QUEUED")] -= 1
        counts[move.data["state"]] += 1
        states[move.data["job"]] = move.data["state"]
    assert counts == operator.get(f"/simulations/{simulation}/status")["counts"]


def test_each_sees_what_is_everybodys_and_ones_own_and_an_admin_all(web: Web, admin: User) -> None:
    owner, other = web.user("operator"), web.user("operator")
    begin = all_numbers(web)[-1] if all_numbers(web) else 0
    with streaming(web, owner, None) as owners, streaming(web, other, None) as others, \
            streaming(web, admin, None) as admins:
        for stream in (owners, others, admins):
            stream.wait("reset")
        private, public = owner.submit(visibility="private"), owner.submit()
        web.settle()
        live_a_life(web, *web.jobs(private))
        hidden, shown = playback(owner, web, visibility="private"), playback(owner, web)
        last = all_numbers(web)[-1]
        for stream in (owners, others, admins):
            until(lambda: stream.numbers()[-1:] == [last])  # noqa: B023
        for stream in (owners, admins):
            assert stream.numbers() == [number for number in all_numbers(web) if number > begin]
        told = [event.data for event in others.all[1:]]
        assert {event["simulation"] for event in told} == {public, None}
        assert {event["job"] for event in told} == {None, shown, *map(str, web.jobs(public))}
    for user, sees in ((owner, True), (other, False), (admin, True)):
        with streaming(web, user, None) as again:
            reset = again.wait("reset").data
        assert (hidden in {job["job"] for job in reset["jobs"]}) is sees
        assert public in {each["id"] for each in reset["simulations"]}
        with streaming(web, user, None, begin) as again:
            until(lambda: again.numbers()[-1:] == [last])
        assert (private in {event.data["simulation"] for event in again.all}) is sees
        assert (hidden in {event.data["job"] for event in again.all}) is sees
        assert again.of("reset") == []


def test_everything_goes_on_from_a_known_id_and_begins_anew_from_others(
        web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    live_a_life(web, *web.jobs(operator.submit()))
    whole = all_numbers(web)
    for place in (0, len(whole) // 2):
        with streaming(web, operator, None, whole[place]) as stream:
            until(lambda: stream.numbers()[-1:] == whole[-1:])
        assert stream.numbers() == whole[place + 1:]
    for last_id in ("999999999", "x", "-1", ""):
        with streaming(web, operator, None, last_id) as stream:
            assert stream.wait("reset").id == whole[-1]
    monkeypatch.setattr("webapp.api.events.MAX_REPLAY", 3)
    with streaming(web, operator, None, whole[-4]) as stream:
        until(lambda: stream.numbers() == whole[-3:])
    with streaming(web, operator, None, whole[-5]) as stream:
        assert stream.wait("reset").id == whole[-1]


def test_a_snapshot_of_everything_that_is_too_much_is_cut_and_says_so(
        web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.api.events.MAX_SIMULATIONS", 2)
    monkeypatch.setattr("webapp.api.events.MAX_JOBS", 3)
    made = [operator.submit(), operator.submit()]
    web.settle()
    for cut in (False, True):
        with streaming(web, operator, None) as stream:
            reset = stream.wait("reset").data
        assert reset["cut"] is cut
        assert [each["id"] for each in reset["simulations"]] == made[:-3:-1]
        made.append(operator.submit())
        web.settle()


def test_progress_reaches_those_who_may_see_it(web: Web, admin: User) -> None:
    owner, other = web.user("operator"), web.user("operator")
    public, private = owner.submit(), owner.submit(visibility="private")
    played, hidden = playback(owner, web), playback(owner, web, visibility="private")
    told = [(UUID(simulation), web.jobs(simulation)[0]) for simulation in (public, private)]
    told += [(None, UUID(job)) for job in (hidden, played)]
    with streaming(web, owner, None) as owners, streaming(web, other, None) as others, \
            streaming(web, admin, None) as admins:
        for stream in (owners, others, admins):
            stream.wait("reset")

        def heard(stream: Events) -> set[str]:
            return {event.data["job"] for event in stream.of("progress")}

        def report() -> bool:
            web.connections.pubsub.publish([Event(
                None, simulation, job, "instance", State.RUNNING, None, datetime.now(UTC), 1, {"percent": 40})
                for simulation, job in told])
            return {str(job) for _, job in told} == heard(owners) == heard(admins) and played in heard(others)

        until(report)
    assert heard(others) == {played, str(web.jobs(public)[0])}
    assert all(event.id is None for event in others.of("progress"))
