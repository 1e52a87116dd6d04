"""Ports are free when they are chosen, and stay so until their server takes them."""

import socket
from collections.abc import Iterator

import pytest

from standalone.ports import HOST, Ports


@pytest.fixture
def ports() -> Iterator[Ports]:
    ports = Ports({})
    yield ports
    ports.release()


def listener(port: int) -> socket.socket:
    server = socket.create_server((HOST, port))  # as servers do it, with SO_REUSEADDR
    server.listen()
    return server


def test_a_server_gets_the_port_that_is_held_for_it(ports: Ports) -> None:
    with listener(ports.take("web")) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_nobody_else_is_given_a_port_that_is_held(ports: Ports) -> None:
    held = ports.take("web")
    other = Ports({})
    assert other.take("web", held) > held
    other.release()


def test_the_first_free_port_from_a_given_one_is_taken(ports: Ports) -> None:
    with listener(0) as taken:
        port = taken.getsockname()[1]
        assert ports.take("web", port) > port


def test_a_port_that_it_had_is_preferred_also_after_connections_to_it_were_closed() -> None:
    with listener(0) as server:
        port = server.getsockname()[1]
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()  # the side that closes first is the one that waits
    ports = Ports({"web": port})
    assert ports.take("web", 8000) == port
    ports.release()


def test_a_port_that_it_had_is_replaced_when_it_is_taken() -> None:
    with listener(0) as taken:
        ports = Ports({"web": taken.getsockname()[1]})
        assert ports.take("web") != taken.getsockname()[1]
        ports.release()


def test_no_two_names_share_a_port(ports: Ports) -> None:
    first = ports.take("web")
    ports.release()
    assert ports.take("flower", first) != first
