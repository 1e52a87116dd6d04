"""Playbacks over HTTP: the job, the orders that are passed to a player, and its frames for many viewers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from shared.domain.states import State
from shared.persistence.models import bundles, jobs, users
from tests.waiting import until
from tests.webapp.api.test_bundles import add_bundle
from tests.webapp.web import API, SECRET, User, Web, problem
from webapp.api import playbacks
from webapp.api.schemas.playbacks import Playback
from webapp.streams import relays

TOKEN = "t" * 30


class FakePlayer:
    """Takes orders, and shows frames as the test says."""

    def __init__(self) -> None:
        self.stand = {"rate": 1.0, "playing": True, "position_ns": 5, "ended": False}
        self.orders: list[Any] = []
        self.streams = 0
        self.knocks: list[str] = []
        self.frames: list[bytes] = []
        self.more = threading.Condition()
        self.ended = False
        self.says = 200  # to viewers of the Foxglove protocol
        player = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/frames":
                    self._stream()
                elif self.path.startswith("/foxglove/"):  # speaks no WebSocket
                    player.knocks.append(self.path)
                    self._answer(player.says, {})
                else:
                    self._answer(200, player.stand)

            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["content-length"])))
                player.orders.append(order)
                self._answer(*((409, {"message": "no"}) if order["action"] == "step" else (200, player.stand)))

            def _answer(self, status: int, body: Any) -> None:
                assert self.headers["authorization"] == f"Bearer {TOKEN}"
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def _stream(self) -> None:
                self.send_response(200)
                self.end_headers()
                player.streams += 1
                for frame in player.feed():
                    self.wfile.write(frame)
                    self.wfile.flush()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.address = {"url": f"http://127.0.0.1:{self._server.server_port}", "token": TOKEN}

    def feed(self) -> Iterator[bytes]:
        told = 0
        while True:
            with self.more:
                self.more.wait_for(lambda told=told: len(self.frames) > told or self.ended)
                fresh = self.frames[told:]
                if not fresh:
                    return
            told += len(fresh)
            yield from fresh

    def show(self, *numbers: int) -> None:
        with self.more:
            self.frames += [b'event: frame\ndata: {"n": %d}\n\n' % number for number in numbers]
            self.more.notify_all()

    def end(self) -> None:
        with self.more:
            self.ended = True
            self.more.notify_all()

    def close(self) -> None:
        self.end()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def player() -> Iterator[FakePlayer]:
    player = FakePlayer()
    yield player
    player.close()


@pytest.fixture
def bundle(web: Web, operator: User) -> UUID:
    return add_bundle(web, operator.id, index_key="index")


def start(user: User, bundle: UUID, **fields: Any) -> str:
    made: str = user.post("/playbacks", {"bundle": str(bundle)} | fields, status=202)["id"]
    return made


def running(web: Web, user: User, bundle: UUID, player: FakePlayer) -> str:
    playback = start(user, bundle)
    web.start(UUID(playback))
    web.set_attempt(UUID(playback), address=player.address)
    return playback


def test_a_playback_is_a_job_on_a_bundle(web: Web, operator: User, bundle: UUID) -> None:
    made = operator.post("/playbacks", {"bundle": str(bundle), "rate": 2.0, "start": "+1.5", "end": 2**60 + 5,
                                        "loop": True, "topics": ["/scan"]}, status=202)
    Playback.model_validate(made)
    web.settle()
    seen = operator.get(f"/playbacks/{made['id']}")
    assert (seen["state"], seen["rate"], seen["position_ns"]) == ("STARTING", 2.0, None)
    with web.database.transaction() as tx:
        row = tx.execute(select(jobs).where(jobs.c.id == UUID(made["id"]))).one()
    assert (row.kind, row.bundle, row.simulation) == ("playback", bundle, None)
    assert row.parameters == {"rate": 2.0, "loop": True, "topics": ["/scan"], "start_ns": 2**60 + 15 * 10**8,
                              "end_ns": 2**60 + 5}


def test_orders_reach_the_player_and_its_stand_comes_back(
        web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback = running(web, operator, bundle, player)
    player.stand |= {"position_ns": 77, "playing": False, "rate": 4.0}
    for order in ({"action": "seek", "to_ns": 77}, {"action": "pause"}, {"action": "rate", "rate": 4.0}):
        seen = operator.post(f"/playbacks/{playback}/control", order, status=200)
        Playback.model_validate(seen)
        assert (seen["position_ns"], seen["paused"], seen["rate"]) == (77, True, 4.0)
        assert seen["websocket_url"].startswith(f"ws://localhost{API}/playbacks/{playback}/foxglove?ticket=")
        assert player.orders[-1]["action"] == order["action"]
    problem(operator.open("POST", f"/playbacks/{playback}/control", json={"action": "step"}), 409, "refused_by_player")


def test_one_that_does_not_run_yet_can_only_be_stopped(web: Web, operator: User, bundle: UUID) -> None:
    playback = start(operator, bundle)
    web.settle()
    problem(operator.open("POST", f"/playbacks/{playback}/control", json={"action": "pause"}), 409, "not_playing")
    assert operator.post(f"/playbacks/{playback}/control", {"action": "stop"}, status=200)["state"] == "CANCELLED"
    problem(operator.open("POST", f"/playbacks/{playback}/control", json={"action": "stop"}), 409,
            "illegal_transition")


def test_a_player_that_is_gone_is_said(web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback = running(web, operator, bundle, player)
    player.close()
    problem(operator.open("POST", f"/playbacks/{playback}/control", json={"action": "pause"}), 503,
            "player_unavailable")
    assert operator.get(f"/playbacks/{playback}")["position_ns"] is None


def test_one_that_hangs_is_stopped_from_outside(web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback = running(web, operator, bundle, player)
    player.close()
    assert operator.post(f"/playbacks/{playback}/control", {"action": "stop"}, status=200)["state"] == "STOPPING"


def test_many_viewers_share_one_stream_from_the_player(
        web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback = running(web, operator, bundle, player)
    seen: list[bytes] = []

    def view() -> None:
        seen.append(operator.open("GET", f"/playbacks/{playback}/stream").get_data())

    viewers = [threading.Thread(target=view) for _ in range(5)]
    for viewer in viewers:
        viewer.start()
    until(lambda: sum(len(show.viewers) for show in web.parts.relays._shows.values()) == 5)
    player.show(1, 2, 3)
    until(lambda: player.streams == 1)
    web.move(UUID(playback), State.RUNNING, State.COLLECTING, outcome="success")
    web.connections.lifecycle.finish(_end(UUID(playback)))
    player.end()
    for viewer in viewers:
        viewer.join(30)
    assert player.streams == 1
    for data in seen:
        assert data.count(b"event: frame") == 3
        assert data.endswith(b'event: end\ndata: {"state": "SUCCEEDED"}\n\n')


def _end(job: UUID) -> Any:
    from shared.lifecycle import End

    return End(job, 1, "success")


def test_a_viewer_that_is_too_slow_is_told_what_it_missed() -> None:
    viewer = relays.Viewer()
    for number in range(relays.WAITING_FRAMES + 7):
        viewer.put(b"%d," % number)
    data = viewer.take(0) or b""
    assert data.startswith(b'event: dropped\ndata: {"count": 7}\n\n7,8,')
    viewer.put(b"x")
    assert viewer.take(0) == b"x"
    assert viewer.take(0) == b""
    viewer.close()
    assert viewer.take(0) is None


def test_a_viewer_that_stops_reading_holds_no_more_than_so_many_bytes() -> None:
    viewer, picture = relays.Viewer(), bytes(6 << 20)
    for _ in range(10):
        viewer.put(picture)
    data = viewer.take(0) or b""
    assert data.startswith(b'event: dropped\ndata: {"count": 8}')
    assert len(data) < relays.WAITING_BYTES
    viewer.put(bytes(relays.WAITING_BYTES + 1))
    assert len(viewer.take(0) or b"") > relays.WAITING_BYTES  # one frame always fits


def test_a_stream_to_the_player_ends_with_its_last_viewer_and_begins_again(player: FakePlayer) -> None:
    all_relays, playback = relays.Relays(), uuid4()
    for round_ in (1, 2):
        viewer = all_relays.join(playback, player.address)
        player.show(round_)
        assert viewer.take(30)
        all_relays.leave(playback, viewer)
        player.show(0)
        until(lambda: not all_relays._shows)
    assert player.streams == 2


def test_who_comes_late_is_told_what_is_latched_in_this_turn(player: FakePlayer) -> None:
    all_relays, playback = relays.Relays(), uuid4()
    first = all_relays.join(playback, player.address)
    with player.more:
        player.frames += [b": latched 3/0\nevent: frame\ndata: old\n\n", b": turn\n\n",
                          b": latched 3/0\nevent: frame\ndata: replaced\n\n",
                          b": latched 3/0\nevent: frame\ndata: map\n\n", b"event: frame\ndata: passing\n\n"]
        player.more.notify_all()
    seen = b""
    until(lambda: b"passing" in _taken(first, seen))
    late = all_relays.join(playback, player.address)
    assert late.take(0) == b": latched 3/0\nevent: frame\ndata: map\n\n"
    assert player.streams == 1


def _taken(viewer: relays.Viewer, so_far: bytes) -> bytes:
    return so_far + (viewer.take(5) or b"")


def test_what_cannot_be_read_cannot_be_played(web: Web, operator: User, bundle: UUID) -> None:
    for values in ({"state": "REJECTED"}, {"state": "READY", "index_key": None}):
        with web.database.transaction() as tx:
            tx.execute(update(bundles).where(bundles.c.id == bundle).values(values))
        problem(operator.open("POST", "/playbacks", json={"bundle": str(bundle)}), 409, "bundle_not_readable")


def test_a_private_bundles_playback_is_as_good_as_missing(web: Web, operator: User, viewer: User) -> None:
    bundle = add_bundle(web, operator.id, index_key="index", visibility="private")
    playback, stranger = start(operator, bundle), web.user("operator")
    problem(stranger.open("POST", "/playbacks", json={"bundle": str(bundle)}), 404, "not_found")
    for method, path in (("GET", ""), ("GET", "/stream"), ("POST", "/control")):
        body = {"json": {"action": "stop"}} if method == "POST" else {}
        problem(stranger.open(method, f"/playbacks/{playback}{path}", **body), 404, "not_found")
    problem(viewer.open("GET", f"/playbacks/{uuid4()}"), 404, "not_found")


def test_only_its_owner_moves_it(web: Web, operator: User, bundle: UUID, admin: User) -> None:
    playback = start(operator, bundle)
    problem(web.user("operator").open("POST", f"/playbacks/{playback}/control", json={"action": "stop"}), 403,
            "forbidden")
    admin.post(f"/playbacks/{playback}/control", {"action": "stop"}, status=200)


@pytest.mark.parametrize(("body", "field"), [
    ({"rate": 0}, "rate"), ({"rate": 51}, "rate"), ({"start": "soon"}, "start"), ({"end": "+1e5"}, "end"),
    ({"topics": ["/none"]}, "topics"), ({"topics": []}, "topics"), ({"bundle": "x"}, "bundle"), ({"x": 1}, "x"),
    ({"start": 2**63}, "start")])
def test_a_wrong_playback_names_the_field(operator: User, bundle: UUID, body: dict[str, Any], field: str) -> None:
    seen = problem(operator.open("POST", "/playbacks", json={"bundle": str(bundle)} | body), 422, "invalid")
    assert seen["errors"][0]["field"].split(".")[0] == field


@pytest.mark.parametrize("order", [
    {"action": "seek"}, {"action": "rate"}, {"action": "jump"}, {"action": "play", "to_ns": 1},
    {"action": "pause", "rate": 1.0}, {"action": "rate", "rate": 0.01}])
def test_an_order_that_is_none_is_refused(operator: User, bundle: UUID, order: dict[str, Any]) -> None:
    problem(operator.open("POST", f"/playbacks/{start(operator, bundle)}/control", json=order), 422, "invalid")


def test_the_same_key_starts_one_playback(operator: User, bundle: UUID) -> None:
    key = {"headers": {"Idempotency-Key": "p1"}}
    body = {"bundle": str(bundle)}
    assert operator.post("/playbacks", body, status=202, **key) == operator.post("/playbacks", body, status=202, **key)


def test_a_stream_ends_with_the_login_that_opened_it(
        web: Web, operator: User, bundle: UUID, player: FakePlayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playbacks, "HEARTBEAT_SECONDS", 0.01)
    path = f"/playbacks/{running(web, operator, bundle, player)}/stream"
    pieces = iter(operator.open("GET", path, buffered=False).response)
    player.show(1)
    until(lambda: b"event: frame" in next(pieces))
    operator.post("/auth/logout", status=204)
    assert all(piece == b": still here\n\n" for piece in pieces)  # and that ends


# -- viewers that speak the Foxglove protocol -------------------------------------------------------------------------

HANDSHAKE = {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "foxglove.sdk.v1"}


def url_of(user: User, playback: str) -> str:
    url: str = user.get(f"/playbacks/{playback}")["websocket_url"]
    return url


def knock(web: Web, url: str, **headers: str) -> TestResponse:
    return web.app.test_client().get(url.replace("ws://localhost", "", 1), headers=HANDSHAKE | headers)


def claims_of(url: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(url.partition("ticket=")[2], options={"verify_signature": False})
    return claims


def forged(url: str, secret: str = SECRET, **claims: Any) -> str:
    head, _, _ = url.partition("ticket=")
    return f"{head}ticket={jwt.encode(claims_of(url) | claims, secret, 'HS256')}"


def test_its_owner_and_admins_move_it_by_their_viewers_and_others_look(
        web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback, admin, viewer = running(web, operator, bundle, player), web.user("admin"), web.user("viewer")
    program = operator.post("/auth/tokens", {"name": "looks", "scopes": ["playbacks:read"]}, status=201)["token"]
    looks = User(operator.id, "", "", operator.client, program, "")
    moves = operator.post("/auth/tokens", {"name": "moves", "scopes": ["write"]}, status=201)["token"]
    for user, way in ((operator, "control"), (admin, "control"), (viewer, "view"), (web.user("operator"), "view"),
                      (looks, "view"), (User(operator.id, "", "", operator.client, moves, ""), "control")):
        problem(knock(web, url_of(user, playback)), 503, "player_unavailable")
        assert player.knocks.pop() == f"/foxglove/{way}"


def test_a_player_that_is_full_says_so(web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    player.says = 503
    problem(knock(web, url_of(operator, running(web, operator, bundle, player))), 503, "too_many_viewers")


def test_a_viewer_of_a_player_that_is_gone_is_told(web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    url = url_of(operator, running(web, operator, bundle, player))
    player.close()
    problem(knock(web, url), 503, "player_unavailable")


def test_a_ticket_is_good_for_its_playback_and_its_time_alone(
        web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback, other = (running(web, operator, bundle, player) for _ in range(2))
    url = url_of(operator, playback)
    problem(knock(web, forged(url, exp=claims_of(url)["exp"] - 1801)), 401, "ticket_expired")
    ticket = url.partition("ticket=")[2]
    for wrong in (url.replace(playback, other), url[:-2], forged(url, secret="x" * 32), forged(url, aud="simyard-api"),
                  url.replace(ticket, operator.access), url.replace(ticket, "")):
        problem(knock(web, wrong), 401, "unauthenticated")
    problem(operator.open("GET", "/auth/me", headers={"Authorization": f"Bearer {ticket}"}), 401, "unauthenticated")
    problem(knock(web, url.partition("?")[0]), 422, "invalid")
    assert player.knocks == []


def test_a_ticket_ends_with_the_login_that_it_was_made_for(
        web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback = running(web, operator, bundle, player)
    url = url_of(operator, playback)
    operator.post("/auth/logout", status=204)
    problem(knock(web, url), 401, "token_revoked")

    demoted = web.user("admin")
    url = url_of(demoted, playback)
    with web.database.transaction() as tx:
        tx.execute(update(users).where(users.c.id == demoted.id).values(role="viewer"))
    web.parts.accounts.forget(demoted.id)
    problem(knock(web, url), 401, "token_revoked")

    careful = web.user("operator")
    token = careful.post("/auth/tokens", {"name": "ci", "scopes": ["read"]}, status=201)
    url = url_of(User(careful.id, "", "", careful.client, token["token"], ""), playback)
    careful.delete(f"/auth/tokens/{token['id']}")
    problem(knock(web, url), 401, "token_revoked")
    assert player.knocks == []


def test_a_ticket_opens_nothing_that_its_user_may_not_see_any_more(
        web: Web, operator: User, viewer: User, bundle: UUID, player: FakePlayer) -> None:
    url = url_of(viewer, running(web, operator, bundle, player))
    with web.database.transaction() as tx:
        tx.execute(update(bundles).where(bundles.c.id == bundle).values(visibility="private"))
    problem(knock(web, url), 404, "not_found")


def test_a_viewer_of_what_has_ended_is_told(web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    playback = running(web, operator, bundle, player)
    url = url_of(operator, playback)
    web.finish(UUID(playback))
    problem(knock(web, url), 409, "not_playing")
    assert operator.get(f"/playbacks/{playback}")["websocket_url"] is None


def test_what_is_no_handshake_is_refused(web: Web, operator: User, bundle: UUID, player: FakePlayer) -> None:
    url = url_of(operator, running(web, operator, bundle, player))
    for headers in ({"Upgrade": ""}, {"Connection": "close"}, {"Sec-WebSocket-Key": "short"},
                    {"Sec-WebSocket-Version": "8"}):
        problem(knock(web, url, **headers), 400, "no_websocket")
    problem(web.app.test_client().get(f"{API}/auth/me", headers=HANDSHAKE), 400, "no_websocket")
    assert web.app.test_client().head(url.replace("ws://localhost", ""), headers=HANDSHAKE).status_code == 400
    assert player.knocks == []


def test_behind_a_proxy_viewers_come_by_its_address(make_web: Any, settings: Any) -> None:
    web = make_web(settings.model_copy(update={"trusted_proxies": 1}))
    operator, player = web.user("operator"), FakePlayer()
    try:
        playback = running(web, operator, add_bundle(web, operator.id, index_key="index"), player)
        told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "robot.example.com", "X-Forwarded-For": "1.2.3.4"}
        seen = operator.get(f"/playbacks/{playback}", headers=told)
        assert seen["websocket_url"].startswith(f"wss://robot.example.com{API}/playbacks/{playback}/foxglove?ticket=")
    finally:
        player.close()
