import math
import random
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from webapp.parameters.distributions import DISTRIBUTIONS, LogUniform, Normal, Uniform

fractions = st.floats(0, 1, exclude_max=True)
NORMAL = statistics.NormalDist()


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), fractions)
def test_uniform_stays_within_its_bounds(low: float, span: float, fraction: float) -> None:
    assert low <= Uniform(low, low + span).at(fraction) <= low + span


@given(st.floats(5e-324, 1e299), st.floats(5e-324, 1e299), fractions)
def test_log_uniform_is_uniform_in_the_logarithm(one: float, other: float, fraction: float) -> None:
    low, high = sorted((one, other))
    value = LogUniform(low, high).at(fraction)
    assert low <= value <= high
    assume(value > 1e-300)  # below, a float has fewer digits
    assert math.log(value) == pytest.approx(
        math.log(low) + fraction * (math.log(high) - math.log(low)), rel=1e-12, abs=1e-12)


@given(st.floats(2.0**-54, 1 - 2.0**-53))
def test_normal_is_the_inverse_of_the_distribution_function(fraction: float) -> None:
    assert Normal(0, 1).at(fraction) == pytest.approx(NORMAL.inv_cdf(fraction), rel=1e-13, abs=1e-15)


def test_normal_is_finite_at_both_ends() -> None:
    low, high = Normal(5, 2).at(0.0), Normal(5, 2).at(1.0)
    assert -12 < low < 5 - 8 * 2 < 5 + 8 * 2 < high < 22


@pytest.mark.parametrize("distribution", [Uniform(0.2, 7), LogUniform(0.2, 7), Normal(3, 2)])
@given(fractions, fractions)
def test_more_of_the_way_is_never_less(distribution: Uniform, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert distribution.at(low) <= distribution.at(high) + 1e-13


@pytest.mark.parametrize(("name", "numbers", "fault"), [
    ("uniform", (2, 1), "2 is more than 1"),
    ("log_uniform", (2, 1), "2 is more than 1"),
    ("log_uniform", (0, 1), "0 is not"),
    ("log_uniform", (-2, -1), "-2 is not"),
    ("normal", (0, -1), "-1 is less"),
])
def test_numbers_that_make_no_distribution_are_told(name: str, numbers: tuple[float, float], fault: str) -> None:
    assert fault in str(DISTRIBUTIONS[name](*numbers).fault())


@pytest.mark.parametrize("found", [Uniform(1, 1), LogUniform(1, 1), Normal(1, 0)])
def test_a_distribution_of_one_number_draws_it(found: Uniform) -> None:
    assert found.fault() is None
    assert {found.at(fraction) for fraction in (0.0, 0.3, 0.999)} == {1}


def test_the_numbers_of_today_are_those_of_tomorrow() -> None:
    chance = random.Random("7/a")
    drawn = [chance.random() for _ in range(3)]
    assert [LogUniform(1e-3, 10).at(each) for each in drawn] == [
        7.82045887418558, 0.18351967770142888, 0.5558869981516503]
    assert [Normal(1, 0.5).at(each) for each in (*drawn, 1e-5, 1e-15)] == [
        1.9659012729723646, 1.0829989002685394, 1.2426195552894181, -1.1324453969614128, -2.9706726630854976]
