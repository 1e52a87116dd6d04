"""Turns a submission's space of parameters into the sets its instances run with. Called by submissions.

The same submission with the same seed gives the same sets and seeds, byte for byte, on every machine and version."""

import decimal
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.errors import FieldError, InvalidSpec
from shared.domain.specs import SimulationSpec, TemplateSpec
from webapp.parameter_schema import compiled

Sets = list[tuple[dict[str, Any], int]]

FORMS = ("grid", "range", "uniform", "value")
SEEDS = 2**31
STRIDE = 0x9E3779B1 % SEEDS  # odd, so that a walk over 2^31 in steps of it meets every number once


@dataclass(frozen=True)
class Uniform:
    """A number drawn anew for each instance, low <= it <= high."""

    low: float
    high: float

    def at(self, fraction: float) -> float:
        """The number at this fraction of the way."""
        return min(self.high, self.low + (self.high - self.low) * fraction)


def expand(spec: SimulationSpec, template: TemplateSpec, ceiling: int) -> Sets:
    """(parameters, seed) of every instance, by index. InvalidSpec when a value is malformed, when there would be more
    than `ceiling` (told before any is made), or when a set does not fit the template. `spec` states its seed."""
    if spec.seed is None:
        raise ValueError("the seed is drawn before the sets are")
    points, count = _points(spec, ceiling)
    schema = compiled(template.parameters)
    sets = [parameters for point in points
            for parameters in itertools.repeat(schema.fill(point), spec.repeats)]
    if any(isinstance(value, Uniform) for value in (sets[0] if sets else {}).values()) or spec.points:
        sets = _draw(sets, spec.seed)
    schema.check(_different(sets))
    return list(zip(sets, _seeds(spec.seed, count), strict=True))


# -- from the submission to points ----------------------------------------------------------------------------------

def _points(spec: SimulationSpec, ceiling: int) -> tuple[Iterator[dict[str, Any]], int]:
    """The points in order (to be repeated yet), and how many instances they make with repeats."""
    if spec.method == "list":
        base = {name: _one(f"parameters.{name}", value) for name, value in spec.parameters.items()}
        laid = spec.points or []
        count = _within(len(laid) * spec.repeats, ceiling, "points")
        return (base | {name: _one(f"points.{place}.{name}", value) for name, value in point.items()}
                for place, point in enumerate(laid)), count
    axes = {name: _axis(f"parameters.{name}", value, ceiling) for name, value in spec.parameters.items()}
    count = _within(math.prod(len(axis) for axis in axes.values()) * spec.repeats, ceiling, "parameters")
    return (dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())), count


def _within(count: int, ceiling: int, field: str) -> int:
    if count > ceiling:
        message = f"{count} instances are more than the {ceiling} that one simulation may have"
        raise InvalidSpec(message, code="too_many_instances", errors=[FieldError(field, message)],
                          remedy="take fewer values or repeats, or split the sweep; the limit is the operator's "
                                 "MAX_INSTANCES_PER_SIMULATION")
    return count


def _one(field: str, value: Any) -> Any:
    """A value of method list: literal, stated or drawn."""
    form, content = _form(field, value)
    if form in ("grid", "range"):
        raise _malformed(field, f"{form} goes with method grid; method list takes its values from points")
    return _uniform(field, content) if form == "uniform" else content


def _axis(field: str, value: Any, ceiling: int) -> Sequence[Any]:
    """The values one parameter goes through; a drawn one counts as a single value until it is drawn."""
    form, content = _form(field, value)
    if form == "grid":
        if not isinstance(content, list) or not content:
            raise _malformed(field, "grid takes a list of at least one value")
        return content
    if form == "range":
        return _range(field, content, ceiling)
    return [_uniform(field, content) if form == "uniform" else content]


def _form(field: str, value: Any) -> tuple[str, Any]:
    if not isinstance(value, dict):
        return "value", value
    if len(value) != 1 or next(iter(value)) not in FORMS:
        raise _malformed(field, f"an object has exactly one of the keys {', '.join(FORMS)}; "
                                'write {"value": {…}} for a literal object')
    return next(iter(value.items()))


def _uniform(field: str, content: Any) -> Uniform:
    low, high = _numbers(field, "uniform", content, ("low", "high"))
    if low > high:
        raise _malformed(field, f"uniform takes [low, high], and {low} is more than {high}")
    if not math.isfinite(float(high) - float(low)):
        raise _malformed(field, "uniform spans more than a number can hold")
    return Uniform(float(low), float(high))


def _range(field: str, content: Any, ceiling: int) -> Sequence[Any]:
    """Every number from start in steps up to and including stop, by exact decimal arithmetic; integers stay so."""
    start, stop, step = (decimal.Decimal(str(each)) for each in
                         _numbers(field, "range", content, ("start", "stop", "step")))
    if step == 0 or ((start < stop) == (step < 0) and start != stop):
        raise _malformed(field, f"a step of {step} does not lead from {start} to {stop}")
    with decimal.localcontext(decimal.Context(prec=1000)):
        count = int((stop - start) // step) + 1
        _within(count, ceiling, field)
        kind = int if type(content[0]) is type(content[2]) is int else float
        return [kind(start + place * step) for place in range(count)]


def _numbers(field: str, form: str, content: Any, names: Sequence[str]) -> Sequence[int | float]:
    if (isinstance(content, list) and len(content) == len(names)
            and all(type(each) in (int, float) and abs(each) < 1e300 for each in content)):
        return content
    raise _malformed(field, f"{form} takes [{', '.join(names)}], each a number")


def _malformed(field: str, message: str) -> InvalidSpec:
    return InvalidSpec(f"{field}: {message}", errors=[FieldError(field, message)])


# -- chance -----------------------------------------------------------------------------------------------------------

def _draw(sets: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The sets with numbers in place of distributions. Instance i's number for a name depends on (seed, name, i) alone,
    so neither other parameters nor their order change it."""
    names = dict.fromkeys(name for each in _different(sets) for name, value in each.items()
                          if isinstance(value, Uniform))
    chances = {name: random.Random(f"{seed}/{name}") for name in names}  # noqa: S311 - repeatable, not secret
    drawn = []
    for each in sets:
        fractions = {name: chance.random() for name, chance in chances.items()}
        drawn.append({name: value.at(fractions[name]) if isinstance(value, Uniform) else value
                      for name, value in each.items()} if names else each)
    return drawn


def _different(sets: Sequence[Any]) -> list[Any]:
    """The sets without those that are the very same object as the one before."""
    return [each for place, each in enumerate(sets) if place == 0 or each is not sets[place - 1]]


def _seeds(seed: int, count: int) -> list[int]:
    """A seed for each instance, no two alike, 0 <= it < 2^31."""
    base = random.Random(f"{seed}//seeds").randrange(SEEDS)  # noqa: S311 - repeatable, not secret
    return [(base + index * STRIDE) % SEEDS for index in range(count)]
