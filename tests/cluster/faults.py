"""What goes wrong between a client and the API server, as tests order it."""

import threading
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tests.cluster.refusals import Refusal
from tests.cluster.registry import Registry

_REASONS = {403: "Forbidden", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
_MESSAGES = {
    429: "Too many requests, please try again later.",
    500: "Internal error occurred: etcdserver: request timed out",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


class Call(NamedTuple):
    """A request, in the words of RBAC. `subresource` and `name` are empty when there is none."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str


Answer = Literal["given", "cut", "stalled"]


@dataclass
class _Fault:
    answer: Answer
    times: int
    verb: str | None
    refusal: Refusal | None = None

    def meets(self, call: Call) -> bool:
        return self.times > 0 and self.verb in (None, call.verb)


class Faults:
    """Ordered by tests while the server runs. Each is over by itself or by a word of its own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        self._queue: list[_Fault] = []
        self._lock = threading.Lock()
        self._answering = threading.Event()
        self._answering.set()
        self.gone_as: Literal["event", "status"] = "event"  # how a watch from a forgotten revision is told 410

    def refuse(self, code: int, message: str | None = None, *, times: int = 1, verb: str | None = None,
               retry_after: int | None = None) -> None:
        """The next requests (of this RBAC verb) are answered with an error, and nothing is done. A 429 has Retry-After
        always, and a text for its body, as when Kubernetes protects itself; the others a Status."""
        after = 1 if code == 429 and retry_after is None else retry_after
        refusal = Refusal(code, _REASONS[code], message or _MESSAGES[code], retry_after=after, is_plain=code == 429)
        self._add(_Fault("given", times, verb, refusal))

    def cut(self, *, times: int = 1, verb: str | None = "create") -> None:
        """The next requests are done, but the connection is cut before the answer."""
        self._add(_Fault("cut", times, verb))

    def stall(self, *, times: int = 1, verb: str | None = "create") -> None:
        """The next requests are done, and never answered."""
        self._add(_Fault("stalled", times, verb))

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._queue.append(fault)

    def take(self, call: Call) -> Answer:
        """Raises what a call is refused with; otherwise it is to be done, and what is to become of its answer."""
        with self._lock:
            fault = next((fault for fault in self._queue if fault.meets(call)), None)
            if fault is None:
                return "given"
            fault.times -= 1
        if fault.refusal is not None:
            raise fault.refusal
        return fault.answer

    def clear(self) -> None:
        """Nothing goes wrong from now on."""
        with self._lock:
            self._queue.clear()
        self.answer()
        self.find_events()
        self.delay_events(0)
        self.release_events()

    def hang(self) -> None:
        """Requests are taken and never answered nor done; watches fall silent. Until answer()."""
        self._answering.clear()

    def answer(self) -> None:
        self._answering.set()

    @property
    def hanging(self) -> bool:
        return not self._answering.is_set()

    def wait_until_answering(self, seconds: float) -> bool:
        return self._answering.wait(seconds)

    def delay_events(self, seconds: float) -> None:
        """Each watch event from now on arrives so much later."""
        self._store.delay(seconds)

    def hold_events(self) -> None:
        """Watch events are kept back until release_events(), which delivers them in their order."""
        self._store.hold()

    def release_events(self) -> None:
        self._store.release()

    def lose_events(self) -> None:
        """Open watches stay open and never hear of what happens until find_events()."""
        self._store.lose(True)

    def find_events(self) -> None:
        self._store.lose(False)

    def close_watches(self) -> None:
        """Every watch ends now, as if its time were over."""
        self._store.close_watches()

    def forget(self, window: int | None = None) -> None:
        """The past is compacted: older revisions and continue tokens are 410 Gone. `window`: how many changes are kept
        from now on."""
        self._store.forget(window)
        self._registry.forget_pages()
