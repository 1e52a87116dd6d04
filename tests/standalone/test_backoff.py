"""How long the supervisor waits before it starts a part again."""

from standalone.backoff import Backoff


def test_waits_double_up_to_two_seconds() -> None:
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_a_good_life_lets_the_waits_begin_anew() -> None:
    backoff = Backoff()
    assert [backoff.after(lived) for lived in (1, 1, 9.9, 10, 1)] == [0.1, 0.2, 0.4, 0.1, 0.2]
