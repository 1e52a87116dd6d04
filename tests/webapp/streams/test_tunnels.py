"""A viewer's connection joined to its player's: what passes, and how it ends."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.waiting import until
from tests.webapp.streams.test_websockets import server_frame
from webapp.streams import tunnels
from webapp.streams.players import Player
from webapp.streams.tunnels import NO_ANSWER, OVER, RESTART, Tunnel, Tunnels
from webapp.streams.websockets import HELD_BYTES, PING, End


class Joined:
    """A tunnel under way: `viewer` and `player` are what stands at its ends."""

    def __init__(self, check: Any = lambda: None, first: bytes = b"") -> None:
        self.viewer, near = socket.socketpair()
        self.player, far = socket.socketpair()
        for each in (self.viewer, self.player):
            each.settimeout(30)
        self.near = near
        self.tunnels = Tunnels()
        self.tunnel = Tunnel(near, Player(far, first, {}), check)
        self.thread = threading.Thread(target=self.tunnels.run, args=(self.tunnel,))
        self.thread.start()

    def seen(self) -> bytes:
        """All that the viewer sees until the end."""
        data = b""
        while more := self.viewer.recv(1 << 16):
            data += more
        return data

    def close(self) -> None:
        for each in (self.viewer, self.player):
            each.close()
        self.thread.join(30)
        self.near.close()
        assert not self.thread.is_alive()


@pytest.fixture
def join() -> Iterator[Any]:
    made: list[Joined] = []

    def make(**options: Any) -> Joined:
        made.append(Joined(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_both_ways_pass_unchanged(join: Any) -> None:
    joined = join(first=server_frame(b"hello"))
    assert joined.viewer.recv(100) == server_frame(b"hello")
    joined.player.sendall(server_frame(b"map"))
    assert joined.viewer.recv(100) == server_frame(b"map")
    joined.viewer.sendall(b"masked anything")
    assert joined.player.recv(100) == b"masked anything"


def test_a_viewer_that_leaves_is_told_the_player(join: Any) -> None:
    joined = join()
    joined.viewer.close()
    assert joined.player.recv(100) == b""


def test_a_player_that_is_gone_is_told_the_viewer(join: Any) -> None:
    joined = join()
    joined.player.sendall(server_frame(b"last") + server_frame(b"torn")[:-1])
    joined.player.close()
    assert joined.seen() == server_frame(b"last") + OVER.frame


def test_what_the_player_says_in_the_end_is_not_said_twice_and_is_given_a_reason(join: Any) -> None:
    told = server_frame(b"\x03\xe9ended", 8)
    for said, seen in ((told, told), (server_frame(b"", 8), OVER.frame)):
        joined = join()
        joined.player.sendall(said)
        joined.player.close()
        assert joined.seen() == seen


def test_no_reason_is_put_in_the_middle_of_a_large_message(join: Any) -> None:
    torn = server_frame(bytes(3 * HELD_BYTES))[:-1]
    joined = join()
    threading.Thread(target=lambda: (joined.player.sendall(torn), joined.player.close())).start()
    assert joined.seen() == torn


def test_a_server_that_stops_says_so(join: Any) -> None:
    joined = join(first=server_frame(b"x"))
    assert joined.viewer.recv(100)
    joined.tunnels.close()
    assert joined.seen() == RESTART.frame


def test_one_that_begins_while_the_server_stops_ends_at_once() -> None:
    all_tunnels, (viewer, near), (player, far) = Tunnels(), socket.socketpair(), socket.socketpair()
    with viewer, near, player:
        all_tunnels.close()
        all_tunnels.run(Tunnel(near, Player(far, b"", {}), lambda: None))
        assert viewer.recv(1000) == RESTART.frame


def test_who_does_not_read_holds_up_no_end(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "LINGER_SECONDS", 0.1)
    joined = join()
    pouring = threading.Thread(target=_pour, args=(joined.player,))
    pouring.start()
    until(lambda: joined.viewer.recv(1))
    joined.tunnels.close()
    joined.thread.join(30)
    assert not joined.thread.is_alive()
    pouring.join(30)


def _pour(player: socket.socket) -> None:
    with suppress(OSError):  # the tunnel has ended
        while True:
            player.sendall(server_frame(bytes(1 << 20)))


def test_a_viewer_whose_login_ends_is_put_out(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "HEARTBEAT_SECONDS", 0.01)
    out, answers = End(1008, "out"), [None, None]
    joined = join(check=lambda: answers.pop() if answers else out)
    assert joined.seen().replace(PING, b"") == out.frame


def test_a_viewer_that_answers_no_heartbeat_is_taken_for_gone(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "HEARTBEAT_SECONDS", 0.01)
    assert join().seen() == tunnels.UNANSWERED * PING + NO_ANSWER.frame


def test_a_viewer_that_answers_stays(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "HEARTBEAT_SECONDS", 0.01)
    joined = join()
    for _ in range(3 * tunnels.UNANSWERED):
        assert joined.viewer.recv(len(PING)) == PING
        joined.viewer.sendall(b"pong")
    assert joined.player.recv(4) == b"pong"


def test_a_viewer_that_has_nothing_to_say_for_long_is_still_heard(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "WRITE_SECONDS", 0.01)
    joined = join()
    joined.thread.join(0.1)
    joined.viewer.sendall(b"here")
    assert joined.player.recv(4) == b"here"
