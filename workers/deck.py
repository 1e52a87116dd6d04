"""Where a playback stands: a position that moves with time while it plays, at a rate, between a start and an end. Used
by the player; knows no bytes and no viewers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

RATES = (0.1, 50.0)
SHORTEST_TURN_SECONDS = 0.1  # of our time: a loop of a moment would do nothing but turn


@dataclass(frozen=True)
class Stand:
    """A look at the deck. `turn` grows with every jump, to `begun_ns`: what was read for an earlier turn is not to be
    shown."""

    turn: int
    begun_ns: int
    position_ns: int
    rate: float
    playing: bool
    ended: bool


class Deck:
    """The position and who may move it. Every method may be called from any thread; times are ns of the recording."""

    def __init__(self, start_ns: int, end_ns: int, *, rate: float = 1.0, loop: bool = False,
                 now: Callable[[], float] = time.monotonic) -> None:
        self.start_ns, self.end_ns = start_ns, max(start_ns, end_ns)
        self._now, self._loop = now, loop
        self._moved = threading.Condition()
        self._turn, self._rate, self._playing = 0, _bounded(rate), True
        self._begun_ns = self._anchor_ns = start_ns
        self._anchor, self._held = now(), True
        self._steps = 0
        self._closed = False

    def stand(self) -> Stand:
        """How it stands now."""
        with self._moved:
            return self._stand()

    def begin(self, turn: int) -> None:
        """What this turn begins with is at hand: time runs from now on. Until then the deck stands at its beginning, so
        that nothing is late because it took a while to be read."""
        with self._moved:
            if self._held and self._turn == turn:
                self._held, self._anchor = False, self._now()
                self._moved.notify_all()

    def play(self) -> None:
        """Go on; from the start when it is at its end."""
        with self._moved:
            if self._position() >= self.end_ns:
                self._jump(self.start_ns)
            self._settle(playing=True)

    def pause(self) -> None:
        """Stand still."""
        with self._moved:
            self._settle(playing=False)

    def seek(self, to_ns: int) -> None:
        """Go to that time, within start and end, and play or stand there as before."""
        with self._moved:
            self._jump(min(max(to_ns, self.start_ns), self.end_ns))

    def set_rate(self, rate: float) -> None:
        """How many seconds of the recording pass in one of ours."""
        with self._moved:
            self._settle()
            self._rate = _bounded(rate)

    def step(self) -> None:
        """Stand still after one more message."""
        with self._moved:
            self._settle(playing=False)
            self._steps += 1
            self._moved.notify_all()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._moved:
            self._closed = True
            self._moved.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def wait_for(self, t_ns: int, turn: int) -> bool:
        """Wait until the position has come to `t_ns`, or a step takes it there; False when that turn is over."""
        with self._moved:
            while not self._closed and self._turn == turn:
                left = t_ns - self._position()
                if left <= 0:
                    return True
                if self._steps and not self._playing:
                    self._steps -= 1
                    self._anchor_ns = t_ns
                    return True
                runs = self._playing and not self._held
                self._moved.wait(min(left / 1e9 / self._rate, 3600) if runs else None)
            return False

    def wait_for_end(self, turn: int) -> None:
        """Nothing more comes in this turn: go on to the end and begin anew when it loops, else stand there until
        somebody moves it."""
        if self._loop and self.wait_for(self.end_ns, turn):
            with self._moved:
                self._moved.wait_for(lambda: self._closed or self._turn != turn, SHORTEST_TURN_SECONDS)
                if self._turn == turn and not self._closed:
                    self._jump(self.start_ns)
            return
        with self._moved:
            self._moved.wait_for(lambda: self._closed or self._turn != turn)

    def _stand(self) -> Stand:
        position = self._position()
        ended = position >= self.end_ns
        playing = self._playing and (self._loop or not ended)
        return Stand(self._turn, self._begun_ns, position, self._rate, playing, ended)

    def _position(self) -> int:
        if not self._playing or self._held:
            return self._anchor_ns
        return min(self.end_ns, self._anchor_ns + int((self._now() - self._anchor) * self._rate * 1e9))

    def _settle(self, *, playing: bool | None = None) -> None:
        """Count from here and now on; wakes whoever waits."""
        self._anchor_ns, self._anchor = self._position(), self._now()
        if playing is not None:
            self._playing = playing
            self._steps = 0
        self._moved.notify_all()

    def _jump(self, to_ns: int) -> None:
        self._turn += 1
        self._begun_ns = self._anchor_ns = to_ns
        self._anchor, self._held = self._now(), True
        self._moved.notify_all()


def _bounded(rate: float) -> float:
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"a rate is from {RATES[0]} to {RATES[1]}, not {rate}")
    return rate
