"""How long the supervisor waits before it starts a part again that has ended."""

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 2.0
GOOD_LIFE_SECONDS = 10.0


class Backoff:
    """Waits that double from one early end to the next, and begin anew after a good life."""

    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def after(self, lived_seconds: float) -> float:
        """The seconds to wait after a life of this length."""
        if lived_seconds >= GOOD_LIFE_SECONDS:
            self._next = FIRST_SECONDS
        wait, self._next = self._next, min(self._next * 2, LONGEST_SECONDS)
        return wait
