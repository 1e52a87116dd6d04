"""The autoscaler's rule, held against the worked examples of Kubernetes' documentation and enhancement proposals."""

from itertools import pairwise
from typing import Any

import pytest

from benchmarks.autoscaler import Autoscaler, recommend
from tests.k8s.rendering import base_with

HOUR = 3600


def scaler(*, least: int = 1, most: int = 1000, **behavior: Any) -> Autoscaler:
    """One metric, of which each replica should have 100."""
    return Autoscaler({"minReplicas": least, "maxReplicas": most, "behavior": behavior, "metrics": [
        {"type": "External", "external": {"metric": {"name": "m"}, "target": {
            "type": "AverageValue", "averageValue": "100"}}}]})


def steps(it: Autoscaler, replicas: int, each: float, *, count: int, seconds: float = 60) -> list[int]:
    """The replicas after each of `count` evaluations that far apart, where every replica always has `each`."""
    found = []
    for step in range(count):
        replicas = it.evaluate(step * seconds, replicas, {"m": each * replicas})
        found.append(replicas)
    return found


def policy(kind: str, value: int, period: int) -> dict[str, Any]:
    return {"type": kind, "value": value, "periodSeconds": period}


@pytest.mark.parametrize(("value", "replicas"), [(200, 6), (50, 2), (100, 3), (109, 3), (91, 3), (120, 4), (0, 0)])
def test_replicas_follow_the_ratio_of_the_value_to_its_target_unless_it_is_near_one(value: int, replicas: int) -> None:
    """200m wanted as 100m doubles, 50m halves; within a tenth nothing changes."""
    assert recommend(3, 3 * value, 100) == replicas


def test_fifty_replicas_at_ninety_of_seventy_five_become_sixty() -> None:
    assert recommend(50, 50 * 90, 75) == 60


def test_without_a_behavior_it_doubles_or_adds_four_in_fifteen_seconds() -> None:
    assert steps(scaler(), 1, 10_000, count=4, seconds=15) == [5, 10, 20, 40]


def test_it_grows_ninefold_where_that_is_allowed() -> None:
    """KEP-853: 1 -> 10 -> 100 -> 1000."""
    it = scaler(scaleUp={"policies": [policy("Percent", 900, 60)]})
    assert steps(it, 1, 1_000_000, count=3) == [10, 100, 1000]


def test_it_adds_four_a_minute_where_only_that_is_allowed() -> None:
    rules = {"policies": [policy("Pods", 4, 60)]}
    assert steps(scaler(scaleUp=rules), 1, 1_000_000, count=3) == [5, 9, 13]
    assert steps(scaler(scaleUp=rules), 1, 1_000_000, count=5, seconds=15) == [5, 5, 5, 5, 9]


def test_of_two_policies_the_greater_change_counts_and_a_share_is_rounded_up() -> None:
    """Documentation: from 80, ten percent a minute is 8, then 8 of 72 as 7.2 is rounded up, ...; below 40 four pods are
    more than a tenth."""
    it = scaler(scaleDown={"stabilizationWindowSeconds": 0,
                           "policies": [policy("Pods", 4, 60), policy("Percent", 10, 60)]})
    found = steps(it, 80, 1, count=10)
    assert found[:2] == [72, 64]
    assert [before - after for before, after in pairwise(found) if before <= 40] == [4] * 4


def test_the_least_change_counts_where_that_is_selected_and_none_where_scaling_is_disabled() -> None:
    rules = {"stabilizationWindowSeconds": 0, "policies": [policy("Pods", 4, 60), policy("Percent", 10, 60)]}
    assert steps(scaler(scaleDown=rules | {"selectPolicy": "Min"}), 80, 1, count=2) == [76, 72]
    assert steps(scaler(scaleDown=rules | {"selectPolicy": "Disabled"}), 80, 1, count=2) == [80, 80]


def test_it_scales_down_to_the_greatest_recommendation_of_the_window() -> None:
    """KEP-853: after 10, 9, 8, 9 and 8 recommended while there were 10, the greatest of the window is taken."""
    it = scaler(scaleDown={"stabilizationWindowSeconds": 300, "policies": [policy("Percent", 100, 15)]})
    recommended = [10, 9, 8, 9, 8, 7, 7, 7]
    found = [it.evaluate(60 * minute, 10, {"m": 100 * wanted + 1 - 100}) for minute, wanted in enumerate(recommended)]
    assert found == [10, 10, 10, 10, 10, 9, 9, 9]


def test_it_scales_up_to_the_least_recommendation_of_the_window() -> None:
    it = scaler(scaleUp={"stabilizationWindowSeconds": 60, "policies": [policy("Percent", 900, 15)]})
    found = [it.evaluate(30 * turn, 2, {"m": 100 * wanted}) for turn, wanted in enumerate([8, 2, 8, 8])]
    assert found == [8, 2, 2, 8]


def test_never_fewer_nor_more_than_the_spec_says() -> None:
    it = scaler(least=3, most=20, scaleDown={"stabilizationWindowSeconds": 0})
    assert it.evaluate(0, 10, {"m": 1_000_000}) == 20
    assert it.evaluate(HOUR, 20, {"m": 0}) == 3


def test_ours_goes_from_three_to_twenty_in_half_a_minute_and_keeps_them_for_five_minutes() -> None:
    it = Autoscaler(base_with("prometheus-adapter")["HorizontalPodAutoscaler", "robot", "robot-worker"]["spec"])
    replicas, found = 3, []
    for turn in range(3):
        replicas = it.evaluate(15 * turn, replicas, {"simyard_queue_load": 1000})
        found.append(replicas)
    assert found == [7, 14, 20]
    quiet = [(replicas := it.evaluate(15 * turn, replicas, {"simyard_queue_load": 0})) for turn in range(3, 40)]
    assert quiet.index(10) == 300 // 15 - 1  # the last busy evaluation was one turn before
    assert quiet[-1] == 3
