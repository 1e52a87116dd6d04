"""Turns a submission's space of parameters into the sets its instances run with. Called by submissions.

The same submission with the same seed gives the same sets and seeds, byte for byte, on every machine and version."""

import decimal
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

from shared.domain.errors import FieldError, InvalidSpec
from shared.domain.specs import SimulationSpec
from webapp.parameters.distributions import DISTRIBUTIONS, Distribution
from webapp.parameters.sampling import Choices, column
from webapp.parameters.schema import ParameterSchema

Sets = list[tuple[dict[str, Any], int]]
Points = Iterator[dict[str, Any]]
R = TypeVar("R")

FORMS = ("grid", "range", *DISTRIBUTIONS, "value")
DRAWN = tuple(DISTRIBUTIONS.values())
SEEDS = 2**31
MAX_BYTES = 1 << 26  # of all sets of a simulation, which are written by one statement
STRIDE = 0x9E3779B1 % SEEDS  # odd, so that a walk over 2^31 in steps of it meets every number once


class TooMuch(InvalidSpec):
    """More than one simulation may hold; `total` is how many instances it asks for, None where not all were counted."""

    def __init__(self, message: str, *, code: str, field: str, remedy: str, total: int | None) -> None:
        super().__init__(message, code=code, errors=[FieldError(field, message)], remedy=remedy)
        self.total = total


class Malformed(InvalidSpec):
    """Values that are written wrongly."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(f"{errors[0].field}: {errors[0].message}", errors=errors)


def expand(spec: SimulationSpec, schema: ParameterSchema, ceiling: int) -> Sets:
    """(parameters, seed) of every instance, by index, with the schema's defaults. InvalidSpec when a value is
    malformed, TooMuch when there would be more than `ceiling` (told before any is made) or when they are too large
    together. `spec` states its seed.

    In grid and list a distribution is drawn for each instance; in random and latin_hypercube a point is drawn once, and
    its repeats differ by their seeds alone."""
    if spec.seed is None:
        raise ValueError("the seed is drawn before the sets are")
    points, count = _points(spec, ceiling)
    sets = [parameters for point in points
            for parameters in itertools.repeat(schema.fill(point), spec.repeats)]
    if any(isinstance(value, DRAWN) for value in (sets[0] if sets else {}).values()) or spec.points:
        sets = _draw(sets, spec.seed)
    _check_size(sets, spec, schema)
    return list(zip(sets, _seeds(spec.seed, count), strict=True))


def _check_size(sets: Sequence[dict[str, Any]], spec: SimulationSpec, schema: ParameterSchema) -> None:
    """TooMuch when the sets as JSON have more than MAX_BYTES together. Counted only where that may be."""
    if len(sets) * len(json.dumps([spec.parameters, spec.points, schema.defaults])) <= MAX_BYTES:
        return
    size = total = 0
    for place, each in enumerate(sets):
        if place == 0 or each is not sets[place - 1]:
            size = len(json.dumps(each))
        total += size
        if total > MAX_BYTES:
            raise TooMuch(f"the parameters of all {len(sets)} instances are more than {MAX_BYTES >> 20} MiB together",
                          code="sets_too_large", field="parameters", total=len(sets),
                          remedy="keep what is large in the template or in a bundle of inputs, or split the sweep")


def check_sets(sets: Sets, schema: ParameterSchema) -> None:
    """InvalidSpec naming `parameters.<name>` unless every set fits the schema."""
    schema.check(_different([parameters for parameters, _ in sets]))


# -- from the submission to points ----------------------------------------------------------------------------------

def _points(spec: SimulationSpec, ceiling: int) -> tuple[Points, int]:
    """The points in order (to be repeated yet), and how many instances they make with repeats."""
    if spec.method == "list":
        return _laid(spec, ceiling)
    return _product(spec, ceiling) if spec.method == "grid" else _sampled(spec, ceiling)


def _laid(spec: SimulationSpec, ceiling: int) -> tuple[Points, int]:
    base = _each("parameters", spec.parameters, _one)
    laid = spec.points or []
    count = _within(len(laid) * spec.repeats, ceiling, "points")
    return (base | _each(f"points.{place}", point, _one) for place, point in enumerate(laid)), count


def _product(spec: SimulationSpec, ceiling: int) -> tuple[Points, int]:
    axes = _each("parameters", spec.parameters, partial(_axis, ceiling))
    count = _within(math.prod(len(axis) for axis in axes.values()) * spec.repeats, ceiling, "parameters")
    return (dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())), count


def _sampled(spec: SimulationSpec, ceiling: int) -> tuple[Points, int]:
    samples = spec.samples or 0
    count = _within(samples * spec.repeats, ceiling, "samples")
    sources = _each("parameters", spec.parameters, partial(_source, ceiling))
    columns = {name: column(source, samples, random.Random(f"{spec.seed}/{name}"),  # noqa: S311 - repeatable
                            stratified=spec.method == "latin_hypercube") for name, source in sources.items()}
    # The range counts the points, also of no parameters; it comes last and has no name, so that it is left out.
    rows = zip(*columns.values(), range(samples), strict=False)
    return (dict(zip(columns, row, strict=False)) for row in rows), count


def _within(count: int, ceiling: int, field: str) -> int:
    if count > ceiling:
        raise _too_many(count, ceiling, field, count)
    return count


def _too_many(count: int, ceiling: int, field: str, total: int | None) -> TooMuch:
    return TooMuch(f"{count} instances are more than the {ceiling} that one simulation may have",
                   code="too_many_instances", field=field, total=total,
                   remedy="take fewer values, samples or repeats, or split the sweep; the limit is the operator's "
                          "MAX_INSTANCES_PER_SIMULATION")


def _each(where: str, values: dict[str, Any], read: Callable[[str, Any], R]) -> dict[str, R]:
    """What `read` makes of each value, given its field. InvalidSpec names all that are malformed."""
    found: dict[str, R] = {}
    errors: list[FieldError] = []
    for name, value in values.items():
        try:
            found[name] = read(f"{where}.{name}", value)
        except Malformed as error:
            errors += error.errors
    if errors:
        raise Malformed(*errors)
    return found


def _one(field: str, value: Any) -> Any:
    """A value of method list: literal, stated or drawn."""
    form, content = _form(field, value)
    if form in ("grid", "range"):
        raise _malformed(field, f"{form} goes with method grid; method list takes its values from points")
    return _literal(field, form, content)


def _axis(ceiling: int, field: str, value: Any) -> Sequence[Any]:
    """The values one parameter goes through; a drawn one counts as a single value until it is drawn."""
    form, content = _form(field, value)
    if form in ("grid", "range"):
        return _values(field, form, content, ceiling)
    return [_literal(field, form, content)]


def _source(ceiling: int, field: str, value: Any) -> Choices | Distribution:
    """What a parameter is sampled from; a literal is the only choice."""
    form, content = ("grid", value) if isinstance(value, list) else _form(field, value)
    if form in DISTRIBUTIONS:
        return _distribution(field, form, content)
    return Choices([content] if form == "value" else _values(field, form, content, ceiling))


def _values(field: str, form: str, content: Any, ceiling: int) -> Sequence[Any]:
    if form == "range":
        return _range(field, content, ceiling)
    if not isinstance(content, list) or not content:
        raise _malformed(field, "grid takes a list of at least one value")
    return content


def _literal(field: str, form: str, content: Any) -> Any:
    return content if form == "value" else _distribution(field, form, content)


def _form(field: str, value: Any) -> tuple[str, Any]:
    if not isinstance(value, dict):
        return "value", value
    if len(value) != 1 or next(iter(value)) not in FORMS:
        raise _malformed(field, f"an object has exactly one of the keys {', '.join(FORMS)}; "
                                'write {"value": {…}} for a literal object')
    return next(iter(value.items()))


def _distribution(field: str, form: str, content: Any) -> Distribution:
    kind = DISTRIBUTIONS[form]
    numbers = _numbers(field, form, content, [each.name for each in fields(kind)])
    found = kind(*map(float, numbers))
    if fault := found.fault():
        raise _malformed(field, f"{form} {fault}")
    return found


def _range(field: str, content: Any, ceiling: int) -> Sequence[Any]:
    """Every number from start in steps up to and including stop, by exact decimal arithmetic; integers stay so."""
    start, stop, step = (decimal.Decimal(str(each)) for each in
                         _numbers(field, "range", content, ("start", "stop", "step")))
    if step == 0 or ((start < stop) == (step < 0) and start != stop):
        raise _malformed(field, f"a step of {step} does not lead from {start} to {stop}")
    with decimal.localcontext(decimal.Context(prec=1000)):
        count = int((stop - start) // step) + 1
        if count > ceiling:
            raise _too_many(count, ceiling, field, None)
        kind = int if type(content[0]) is type(content[2]) is int else float
        return [kind(start + place * step) for place in range(count)]


def _numbers(field: str, form: str, content: Any, names: Sequence[str]) -> Sequence[int | float]:
    if (isinstance(content, list) and len(content) == len(names)
            and all(type(each) in (int, float) and abs(each) < 1e300 for each in content)):
        return content
    raise _malformed(field, f"{form} takes [{', '.join(names)}], each a number")


def _malformed(field: str, message: str) -> Malformed:
    return Malformed(FieldError(field, message))


# -- chance -----------------------------------------------------------------------------------------------------------

def _draw(sets: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The sets with numbers in place of distributions. Instance i's number for a name depends on (seed, name, i) alone,
    so neither other parameters nor their order change it."""
    names = dict.fromkeys(name for each in _different(sets) for name, value in each.items()
                          if isinstance(value, DRAWN))
    chances = {name: random.Random(f"{seed}/{name}") for name in names}  # noqa: S311 - repeatable, not secret
    drawn = []
    for each in sets:
        fractions = {name: chance.random() for name, chance in chances.items()}
        drawn.append({name: value.at(fractions[name]) if isinstance(value, DRAWN) else value
                      for name, value in each.items()} if names else each)
    return drawn


def _different(sets: Sequence[Any]) -> list[Any]:
    """The sets without those that are the very same object as the one before."""
    return [each for place, each in enumerate(sets) if place == 0 or each is not sets[place - 1]]


def _seeds(seed: int, count: int) -> list[int]:
    """A seed for each instance, no two alike, 0 <= it < 2^31."""
    base = random.Random(f"{seed}//seeds").randrange(SEEDS)  # noqa: S311 - repeatable, not secret
    return [(base + index * STRIDE) % SEEDS for index in range(count)]
