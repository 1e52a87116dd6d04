"""Free TCP ports of this machine, held from the moment they are chosen until their servers listen on them."""

import itertools
import random
import socket
from collections.abc import Iterable, Iterator

HOST = "127.0.0.1"
# Below the ports that the kernel gives to outgoing connections, which would take them away between two starts.
ANY = range(10_240, 32_768)


class Ports:
    """The ports of one stack, by name: where possible those it had before."""

    def __init__(self, known: dict[str, int]) -> None:
        self.known = known
        self._held: list[socket.socket] = []

    def take(self, name: str, first: int | None = None) -> int:
        """The port it had, else the next free one from `first` on, else any; nobody else who asks so gets it."""
        before = [self.known[name]] if name in self.known else []
        others = range(first, 65_536) if first else _any()
        self.known[name] = self._hold(itertools.chain(before, others), set(before))
        return self.known[name]

    def forget(self, name: str) -> None:
        """Do not prefer the port it had."""
        self.known.pop(name, None)

    def release(self) -> None:
        """Let go of all, once the servers listen."""
        while self._held:
            self._held.pop().close()

    def _hold(self, candidates: Iterable[int], ours: set[int]) -> int:
        taken = set(self.known.values()) - ours
        for port in candidates:
            if port not in taken and (held := _bind(port, is_ours=port in ours)):
                self._held.append(held)
                return port
        raise OSError("no free TCP port is left")


def _any() -> Iterator[int]:
    return (random.choice(ANY) for _ in range(10_000))  # noqa: S311 - nothing secret about a port


def _bind(port: int, *, is_ours: bool) -> socket.socket | None:
    """A socket that holds the port, or None when it is taken.

    A port that we had may still have closed connections to wait for, so it is asked for as a server would. A new one is
    asked for strictly, which a port that another stack holds refuses. Held with SO_REUSEADDR, it lets our server in.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if is_ours:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        held.close()
        return None
    return held
