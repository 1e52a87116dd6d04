"""Many clients of one stream of server-sent events, as a process of its own: `python -m benchmarks.listeners URL COUNT`
with the request's Authorization on stdin. Says a line once all are connected; the next line on stdin, a JSON object
{event number: when it was committed}, is answered by {"delivered", "twice", "missing", "delays": [ms]}, and it ends."""

import json
import re
import selectors
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

ID = re.compile(rb"^id: (\d+)", re.MULTILINE)
CONNECTING = 20  # at a time


class Client:
    """One connection and what came over it."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.began = False
        self.heard: dict[int, float] = {}
        self.twice = 0
        self._rest = b""
        self.socket = socket.create_connection(address)
        self.socket.sendall(request)

    def read(self) -> None:
        """Take down when each event came. A chunk's last line may be cut anywhere, so it waits for the next."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("a stream ended")
        now = time.perf_counter()
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for number in map(int, ID.findall(b"\n".join(whole))):
            self.twice += number in self.heard
            self.heard[number] = now
            self.began = True


def main() -> None:
    """Connect, listen until there is something on stdin, account for it."""
    url, count = urlsplit(sys.argv[1]), int(sys.argv[2])
    request = (f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
               f"Authorization: {sys.stdin.readline().strip()}\r\n\r\n").encode()
    selector, clients = selectors.DefaultSelector(), []
    while len(clients) < count:
        group = [Client((str(url.hostname), int(url.port or 80)), request) for _ in range(CONNECTING)]
        for client in group:
            selector.register(client.socket, selectors.EVENT_READ, client)
        clients += group
        while not all(client.began for client in group):
            _listen(selector)
    print("connected", flush=True)
    asked: list[str] = []
    threading.Thread(target=lambda: asked.append(sys.stdin.readline()), daemon=True).start()
    while not asked:
        _listen(selector)
    committed = {int(number): at for number, at in json.loads(asked[0]).items()}
    deadline = time.perf_counter() + 10
    while time.perf_counter() < deadline and any(committed.keys() - client.heard.keys() for client in clients):
        _listen(selector)
    delays = [1000 * (client.heard[number] - at) for client in clients for number, at in committed.items()
              if number in client.heard]
    print(json.dumps({"delivered": len(delays), "missing": count * len(committed) - len(delays),
                      "twice": sum(client.twice for client in clients), "delays": sorted(delays)}))


def _listen(selector: selectors.BaseSelector) -> None:
    for key, _ in selector.select(0.1):
        key.data.read()


if __name__ == "__main__":
    main()
