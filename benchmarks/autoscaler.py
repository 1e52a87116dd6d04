"""The rule of a HorizontalPodAutoscaler (autoscaling/v2), as Kubernetes documents it, out of the object's own spec.
Pure: the caller says what time it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SYNC_SECONDS = 15  # between two evaluations
TOLERANCE = 0.1
UP = {"stabilizationWindowSeconds": 0, "policies": [
    {"type": "Percent", "value": 100, "periodSeconds": 15}, {"type": "Pods", "value": 4, "periodSeconds": 15}]}
DOWN = {"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


@dataclass
class Autoscaler:
    """One object and what its controller remembers. Only External metrics with an AverageValue count: what is not in
    `metrics` of evaluate() is taken as one that asks for no change."""

    spec: Mapping[str, Any]
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)  # by how many replicas, positive is up

    def evaluate(self, now: float, replicas: int, metrics: Mapping[str, float]) -> int:
        """How many replicas there are to be from `now` (seconds) on; metrics are totals, by name."""
        wanted = max(recommend(replicas, metrics[name], target) for name, target in targets(self.spec).items()
                     if name in metrics)
        wanted = self._stabilize(now, replicas, wanted)
        if wanted > replicas:
            wanted = min(wanted, self._furthest(now, replicas, "scaleUp"))
        elif wanted < replicas:
            wanted = max(wanted, self._furthest(now, replicas, "scaleDown"))
        wanted = max(self.spec.get("minReplicas", 1), min(wanted, self.spec["maxReplicas"]))
        if wanted != replicas:
            self._changes.append((now, wanted - replicas))
        return wanted

    def _rules(self, direction: str) -> Mapping[str, Any]:
        usual = UP if direction == "scaleUp" else DOWN
        return usual | self.spec.get("behavior", {}).get(direction, {})

    def _window(self, direction: str) -> float:
        return float(self._rules(direction)["stabilizationWindowSeconds"])

    def _stabilize(self, now: float, replicas: int, wanted: int) -> int:
        """Up at most to the least that was recommended within the window of scaling up, down at most to the greatest
        within that of scaling down."""
        self._recommended.append((now, wanted))
        up, down = ([each for at, each in self._recommended if at == now or at > now - self._window(direction)]
                    for direction in ("scaleUp", "scaleDown"))
        return min(max(replicas, min(up)), max(down))

    def _furthest(self, now: float, replicas: int, direction: str) -> int:
        """As far as the policies allow; of several the greatest change, unless selectPolicy says otherwise."""
        rules, sign = self._rules(direction), 1 if direction == "scaleUp" else -1
        if rules.get("selectPolicy") == "Disabled":
            return replicas
        limits = [_limit(policy, sign, replicas - self._changed(now, policy["periodSeconds"]))
                  for policy in rules["policies"]]
        choose = min if (rules.get("selectPolicy", "Max") == "Max") == (sign < 0) else max
        return sign * max(sign * choose(limits), sign * replicas)

    def _changed(self, now: float, period: float) -> int:
        """By how much the replicas have changed in the period that ends now."""
        return sum(change for at, change in self._changes if at > now - period)


def _limit(policy: Mapping[str, Any], sign: int, start: int) -> int:
    """From `start`, the replicas when the period began. A share is rounded to the greater change."""
    if policy["type"] == "Pods":
        return start + sign * int(policy["value"])
    share = start * (1 + sign * policy["value"] / 100)
    return math.ceil(share) if sign > 0 else math.floor(share)


def targets(spec: Mapping[str, Any]) -> dict[str, float]:
    """The External metrics and what of each there should be for one replica."""
    return {each["external"]["metric"]["name"]: float(each["external"]["target"]["averageValue"])
            for each in spec["metrics"] if each["type"] == "External"}


def recommend(replicas: int, total: float, target: float) -> int:
    """ceil(replicas * value / target), where value is the total for each replica; no change within the tolerance."""
    ratio = total / (target * replicas)
    return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(total / target)
