"""Draws the values of one parameter for all points of a sweep: each by itself, or stratified. Called by sweeps.

Of chance only random() is used, the one method whose numbers Python promises never to change."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from webapp.parameters.distributions import Distribution


@dataclass(frozen=True)
class Choices:
    """The values of which one is taken, each as often as the others."""

    values: Sequence[Any]

    def at(self, fraction: float) -> Any:
        """The value in whose share of the way this fraction lies, 0 <= it < 1."""
        return self.values[int(fraction * len(self.values))]


def column(source: Choices | Distribution, count: int, chance: Random, *, stratified: bool) -> list[Any]:
    """`count` values, by `chance` alone. Stratified: one from each of as many equal strata, in any order."""
    if isinstance(source, Choices):
        if len(source.values) == 1:
            return [source.values[0]] * count
        if stratified:
            return _evenly(source.values, count, chance)
    if stratified:
        return [source.at((stratum + chance.random()) / count) for stratum in _shuffled(count, chance)]
    return [source.at(chance.random()) for _ in range(count)]


def _evenly(values: Sequence[Any], count: int, chance: Random) -> list[Any]:
    """The strata mapped onto the values, beginning with any: none comes more than once more often than another."""
    strata = _shuffled(count, chance)
    first = int(chance.random() * len(values))
    return [values[(first + stratum * len(values) // count) % len(values)] for stratum in strata]


def _shuffled(count: int, chance: Random) -> list[int]:
    places = list(range(count))
    for last in range(count - 1, 0, -1):
        other = int(chance.random() * (last + 1))
        places[last], places[other] = places[other], places[last]
    return places
