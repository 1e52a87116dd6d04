import hashlib
import itertools
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidSpec
from shared.domain.specs import SAMPLING, SimulationSpec, TemplateSpec
from webapp.parameters.schema import compiled
from webapp.parameters.sweeps import SEEDS, check_sets, expand

ANYTHING = TemplateSpec(name="t", command=("/bin/true",))
ROBOT = TemplateSpec(name="t", command=("/bin/true",), parameters={
    "type": "object", "additionalProperties": False, "required": ["goals"], "properties": {
        "max_speed": {"type": "number", "maximum": 2, "default": 0.6},
        "goals": {"type": "integer", "minimum": 1},
        "world": {"enum": ["open", "warehouse"], "default": "open"}}})


def sets(template: TemplateSpec = ANYTHING, ceiling: int = 100_000, **fields: Any) -> list[dict[str, Any]]:
    return [parameters for parameters, _ in pairs(template, ceiling, **fields)]


def pairs(template: TemplateSpec = ANYTHING, ceiling: int = 100_000, **fields: Any) -> list[tuple[dict[str, Any], int]]:
    schema = compiled(template.parameters)
    made = expand(SimulationSpec.model_validate({"template": "t", "seed": 7} | fields), schema, ceiling)
    check_sets(made, schema)
    return made


def refused(template: TemplateSpec = ANYTHING, **fields: Any) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        sets(template, **fields)
    assert caught.value.errors
    return caught.value


def test_the_contracts_example_makes_16() -> None:
    made = sets(parameters={"max_speed": {"grid": [0.4, 0.8]}, "obstacles": {"range": [2, 8, 2]},
                            "friction": {"uniform": [0.5, 1.0]}, "world": "warehouse"}, repeats=2)
    assert len(made) == 16
    assert [(each["max_speed"], each["obstacles"]) for each in made[:5]] == [
        (0.4, 2), (0.4, 2), (0.4, 4), (0.4, 4), (0.4, 6)]
    assert len({each["friction"] for each in made}) == 16
    assert all(0.5 <= each["friction"] <= 1 for each in made)


def test_no_parameters_make_one_instance_for_each_repeat() -> None:
    assert sets() == [{}]
    assert sets(repeats=3) == [{}, {}, {}]


@pytest.mark.parametrize(("form", "values"), [
    ([2, 8, 2], [2, 4, 6, 8]),
    ([2, 9, 2], [2, 4, 6, 8]),
    ([8, 2, -3], [8, 5, 2]),
    ([0, 1, 0.25], [0, 0.25, 0.5, 0.75, 1]),
    ([0.1, 0.7, 0.1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
    ([1, -1, -0.5], [1, 0.5, 0, -0.5, -1]),
    ([5, 5, 1], [5]),
    ([1e-30, 3e-30, 1e-30], [1e-30, 2e-30, 3e-30]),
])
def test_a_range_includes_its_end_and_is_exact(form: list[float], values: list[float]) -> None:
    made = [each["x"] for each in sets(parameters={"x": {"range": form}})]
    assert made == values
    assert {type(each) for each in made} == {int if {type(form[0]), type(form[2])} == {int} else float}


def test_a_literal_object_is_stated_as_value() -> None:
    assert sets(parameters={"a": {"value": {"b": 1}}, "c": [1, 2], "d": None, "e": {"grid": [{"f": 1}, 2]}}) == [
        {"a": {"b": 1}, "c": [1, 2], "d": None, "e": {"f": 1}}, {"a": {"b": 1}, "c": [1, 2], "d": None, "e": 2}]


def test_a_list_lays_each_point_over_the_parameters() -> None:
    made = sets(method="list", parameters={"a": 1, "b": 2}, points=[{"a": 5}, {"c": {"value": {"grid": 1}}}], repeats=2)
    assert made == [{"a": 5, "b": 2}] * 2 + [{"a": 1, "b": 2, "c": {"grid": 1}}] * 2


def test_a_list_may_draw_in_single_points() -> None:
    made = sets(method="list", points=[{"a": 0}, {"a": {"uniform": [1, 2]}}, {"a": {"uniform": [3, 4]}}])
    assert made[0] == {"a": 0}
    assert 1 <= made[1]["a"] <= 2
    assert 3 <= made[2]["a"] <= 4


@pytest.mark.parametrize(("field", "value", "said"), [
    ("x", {"grid": []}, "at least one"),
    ("x", {"grid": 3}, "list"),
    ("x", {"range": [1, 5]}, "start, stop, step"),
    ("x", {"range": [1, 5, 0]}, "does not lead"),
    ("x", {"range": [1, 5, -1]}, "does not lead"),
    ("x", {"range": [1, "5", 1]}, "number"),
    ("x", {"range": [True, 5, 1]}, "number"),
    ("x", {"range": [0, 1, 1e-12]}, "more than the 100000"),
    ("x", {"range": [-1e299, 1e299, 1e-320]}, "more than the 100000"),
    ("x", {"uniform": [2, 1]}, "low"),
    ("x", {"uniform": [1]}, "low, high"),
    ("x", {"uniform": [0, 10**400]}, "number"),
    ("x", {"log_uniform": [2, 1]}, "more than"),
    ("x", {"log_uniform": [0, 1]}, "above 0"),
    ("x", {"log_uniform": [1, None]}, "low, high"),
    ("x", {"normal": [0, -1]}, "at least 0"),
    ("x", {"normal": [0]}, "mean, standard_deviation"),
    ("x", {"normal": {"mean": 0}}, "mean, standard_deviation"),
    ("x", {}, "exactly one"),
    ("x", {"grid": [1], "value": 2}, "exactly one"),
    ("x", {"gird": [1]}, "exactly one"),
])
def test_a_malformed_value_is_refused_by_name(field: str, value: Any, said: str) -> None:
    error = refused(parameters={field: value})
    assert error.errors[0].field == f"parameters.{field}"
    assert said in error.errors[0].message


def test_every_malformed_value_is_named_at_once() -> None:
    bad = {"x": {"uniform": [2, 1]}, "y": 1, "z": {"grid": []}}
    assert [fault.field for fault in refused(parameters=bad).errors] == ["parameters.x", "parameters.z"]
    assert [fault.field for fault in refused(parameters=bad, method="random", samples=2).errors] == [
        "parameters.x", "parameters.z"]
    assert [fault.field for fault in refused(points=[{}, bad | {"z": {}}], method="list").errors] == [
        "points.1.x", "points.1.z"]


@pytest.mark.parametrize("form", [{"grid": [1, 2]}, {"range": [1, 2, 1]}])
def test_a_list_takes_no_axes(form: Any) -> None:
    assert refused(method="list", points=[{"a": 1}], parameters={"x": form}).errors[0].field == "parameters.x"
    assert refused(method="list", points=[{}, {"y": form}]).errors[0].field == "points.1.y"


def test_a_sweep_over_the_ceiling_is_refused_before_it_is_made() -> None:
    axis = {"grid": list(range(1000))}
    error = refused(parameters=dict.fromkeys("abcdefgh", axis), repeats=1000)
    assert error.code == "too_many_instances"
    assert str(1000**9) in error.detail and "100000" in error.detail
    assert len(sets(ceiling=6, parameters={"a": {"grid": [1, 2, 3]}}, repeats=2)) == 6
    with pytest.raises(InvalidSpec):
        sets(ceiling=5, parameters={"a": {"grid": [1, 2, 3]}}, repeats=2)


@pytest.mark.parametrize("fields", [
    {"parameters": {"a": "x" * 1000}, "repeats": 100_000},
    {"parameters": {"a": "x" * 1_000_000, "b": {"range": [1, 100, 1]}}},
    {"method": "random", "samples": 100_000, "parameters": {"a": ["x" * 1000, "y" * 1000], "b": {"normal": [0, 1]}}},
])
def test_sets_that_are_too_large_together_are_refused(fields: dict[str, Any]) -> None:
    error = refused(**fields)
    assert (error.code, error.errors[0].field) == ("sets_too_large", "parameters")
    assert "64 MiB" in error.detail


def test_a_long_axis_is_as_large_as_its_values_are() -> None:
    values = [f"{number:010}" for number in range(50_000)]
    assert len(sets(parameters={"a": {"grid": values}})) == 50_000


def test_defaults_fill_what_is_missing() -> None:
    assert sets(ROBOT, parameters={"goals": 2}) == [{"goals": 2, "max_speed": 0.6, "world": "open"}]


def test_every_fault_is_named_once() -> None:
    error = refused(ROBOT, parameters={"max_speed": {"grid": [1, 3, 5]}, "world": "moon", "color": "red"}, repeats=3)
    assert {(fault.field, fault.message) for fault in error.errors} == {
        ("parameters.max_speed", "3 is greater than the maximum of 2"),
        ("parameters.max_speed", "5 is greater than the maximum of 2"),
        ("parameters.world", '"moon" is not one of "open" or "warehouse"'),
        ("parameters.color", "there is no such parameter; there are goals, max_speed and world"),
        ("parameters.goals", "is required")}


def test_a_drawn_number_is_held_against_the_schema() -> None:
    assert refused(ROBOT, parameters={"goals": 1, "max_speed": {"uniform": [0, 100]}}, repeats=50).errors[0].field \
        == "parameters.max_speed"


@pytest.mark.parametrize("form", [{"uniform": [1, 2]}, {"log_uniform": [1, 2]}, {"normal": [1.5, 0.1]}])
def test_every_distribution_is_drawn_for_each_instance_of_a_grid_or_list(form: Any) -> None:
    for fields in ({"parameters": {"b": {"grid": [1, 2]}, "a": form}},
                   {"method": "list", "points": [{"a": form}, {"a": form}]}):
        drawn = [each["a"] for each in sets(repeats=3, **fields)]
        assert len(set(drawn)) == 6
        assert all(1 <= each <= 2 for each in drawn)


# -- sampling -------------------------------------------------------------------------------------------------------

SPACE = {"lit": 3, "list": ["a", "b", "c"], "grid": {"grid": [1, [2], None]}, "range": {"range": [0, 1, 0.25]},
         "whole": {"value": [1, 2]}, "uni": {"uniform": [2, 3]}, "log": {"log_uniform": [1e-3, 10]},
         "norm": {"normal": [5, 2]}}
MEMBERS: dict[str, Callable[[Any], bool]] = {
    "lit": lambda value: value == 3, "list": lambda value: value in ("a", "b", "c"),
    "grid": lambda value: value in (1, [2], None), "range": lambda value: value in (0, 0.25, 0.5, 0.75, 1),
    "whole": lambda value: value == [1, 2], "uni": lambda value: 2 <= value <= 3,
    "log": lambda value: 1e-3 <= value <= 10, "norm": lambda value: -12 < value < 22}

methods = st.sampled_from(SAMPLING)
seeds = st.integers(0, SEEDS - 1)


@given(methods, st.integers(1, 40), st.integers(1, 3), seeds)
def test_sampling_makes_samples_times_repeats_of_what_the_space_holds(
        method: str, samples: int, repeats: int, seed: int) -> None:
    made = pairs(method=method, samples=samples, repeats=repeats, seed=seed, parameters=SPACE)
    assert len(made) == samples * repeats
    for parameters, _ in made:
        assert list(parameters) == list(SPACE)
        assert all(MEMBERS[name](value) for name, value in parameters.items())
    assert len({each for _, each in made}) == samples * repeats


@given(methods, st.integers(1, 30), seeds)
def test_a_point_is_drawn_once_for_all_its_repeats(method: str, samples: int, seed: int) -> None:
    once = sets(method=method, samples=samples, seed=seed, parameters=SPACE)
    assert sets(method=method, samples=samples, seed=seed, parameters=SPACE, repeats=3) == [
        each for each in once for _ in range(3)]


@given(methods, st.integers(1, 30), seeds, st.permutations(list(SPACE)), st.integers(1, len(SPACE)))
def test_a_samples_values_depend_on_neither_other_parameters_nor_their_order(
        method: str, samples: int, seed: int, order: list[str], count: int) -> None:
    whole = sets(method=method, samples=samples, seed=seed, parameters=SPACE)
    kept = {name: SPACE[name] for name in order[:count]}
    assert sets(method=method, samples=samples, seed=seed, parameters=kept) == [
        {name: each[name] for name in kept} for each in whole]


@given(st.integers(1, 30), st.integers(1, 30), seeds)
def test_more_random_samples_begin_with_the_same_ones(samples: int, more: int, seed: int) -> None:
    assert sets(method="random", samples=samples + more, seed=seed, parameters=SPACE)[:samples] \
        == sets(method="random", samples=samples, seed=seed, parameters=SPACE)


@given(st.integers(1, 200), seeds)
def test_a_hypercube_has_one_number_in_each_stratum(samples: int, seed: int) -> None:
    made = sets(method="latin_hypercube", samples=samples, seed=seed, parameters=SPACE)
    normal = statistics.NormalDist(5, 2)
    fractions = {"uni": lambda value: value - 2, "log": lambda value: math.log(value / 1e-3) / math.log(10 / 1e-3),
                 "norm": normal.cdf}
    for name, fraction in fractions.items():
        for stratum, found in enumerate(sorted(fraction(each[name]) for each in made)):
            assert stratum / samples - 1e-9 <= found <= (stratum + 1) / samples + 1e-9, name


@given(st.integers(1, 60), st.integers(1, 12), seeds)
def test_a_hypercubes_choices_come_equally_often(samples: int, choices: int, seed: int) -> None:
    for space in (list(range(choices)), {"grid": list(range(choices))}, {"range": [0, choices - 1, 1]}):
        made = sets(method="latin_hypercube", samples=samples, seed=seed, parameters={"a": space})
        found = Counter(each["a"] for each in made)
        counts = [found[choice] for choice in range(choices)]
        assert max(counts) - min(counts) <= 1


def test_few_samples_of_many_choices_favour_none() -> None:
    found = {sets(method="latin_hypercube", samples=1, seed=seed, parameters={"a": [1, 2, 3]})[0]["a"]
             for seed in range(30)}
    assert found == {1, 2, 3}


def test_two_parameters_of_a_hypercube_are_permuted_by_themselves() -> None:
    made = sets(method="latin_hypercube", samples=50, parameters={key: {"uniform": [0, 1]} for key in "ab"})
    first, second = ([int(each[name] * 50) for each in made] for name in "ab")
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != sorted(first)


def test_samples_of_no_parameters_are_empty_points() -> None:
    assert sets(method="random", samples=2, repeats=2) == [{}] * 4
    assert sets(ROBOT, method="latin_hypercube", samples=2, parameters={"goals": [1, 2]}, repeats=1)[0] \
        | {"goals": 0} == {"goals": 0, "max_speed": 0.6, "world": "open"}


def test_samples_over_the_ceiling_are_refused_before_any_is_drawn() -> None:
    error = refused(method="random", samples=1_000_000, repeats=1_000_000, parameters=SPACE)
    assert error.code == "too_many_instances"
    assert error.errors[0].field == "samples"
    assert len(sets(method="random", samples=3, repeats=2, ceiling=6)) == 6
    with pytest.raises(InvalidSpec):
        sets(method="random", samples=3, repeats=2, ceiling=5)


def test_the_samples_of_today_are_those_of_tomorrow() -> None:
    space = {"a": {"uniform": [0, 1]}, "b": ["x", "y", "z"], "c": {"log_uniform": [1, 100]}, "d": {"normal": [0, 1]}}
    drawn = random.Random("7/a")
    made = pairs(method="random", samples=3, parameters=space)
    assert [each["a"] for each, _ in made] == [drawn.random() for _ in range(3)]
    assert hashlib.sha256(json.dumps(made).encode()).hexdigest() == \
        "2a1bd05ad1e44af88b90d79cb2037f7cfa652a73372411feec233188cc2e7453"
    made = pairs(method="latin_hypercube", samples=100, repeats=2, parameters=space)
    assert hashlib.sha256(json.dumps(made).encode()).hexdigest() == \
        "5b70ae29a4ba5d6a48b78222d3d003af15ead3d71c44680be54cf0443da09a53"


# -- laws -----------------------------------------------------------------------------------------------------------

names = st.text("abcxyz_", min_size=1, max_size=4)
literals = st.integers(-5, 5) | st.booleans() | st.text(max_size=3) | st.none()
forms = literals | st.builds(lambda values: {"grid": values}, st.lists(literals, min_size=1, max_size=3)) \
    | st.builds(lambda low, span: {"uniform": [low, low + span]}, st.floats(-1e6, 1e6), st.floats(0, 1e6)) \
    | st.builds(lambda low, times: {"log_uniform": [low, low * times]}, st.floats(1e-9, 1e6), st.floats(1, 1e6)) \
    | st.builds(lambda *each: {"normal": list(each)}, st.floats(-1e6, 1e6), st.floats(0, 1e6)) \
    | st.builds(lambda start, count, step: {"range": [start, start + count * step, step]}, st.integers(-9, 9),
                st.integers(0, 2), st.integers(-3, 3).filter(bool))
spaces = st.dictionaries(names, forms, max_size=4)


@given(spaces, st.integers(1, 3), st.integers(0, SEEDS - 1))
def test_the_same_body_makes_the_same_sets_and_as_many_as_counted(
        space: dict[str, Any], repeats: int, seed: int) -> None:
    made = pairs(parameters=space, repeats=repeats, seed=seed)
    assert json.dumps(made) == json.dumps(pairs(parameters=json.loads(json.dumps(space)), repeats=repeats, seed=seed))
    sizes = [len(form["grid"]) if isinstance(form, dict) and "grid" in form
             else abs((form["range"][1] - form["range"][0]) // form["range"][2]) + 1
             if isinstance(form, dict) and "range" in form else 1 for form in space.values()]
    assert len(made) == math.prod(sizes) * repeats
    assert all(list(parameters) == list(space) for parameters, _ in made)


@given(spaces, methods, st.integers(1, 20), st.integers(1, 3), seeds)
def test_the_same_body_samples_the_same_sets(
        space: dict[str, Any], method: str, samples: int, repeats: int, seed: int) -> None:
    body = {"parameters": space, "method": method, "samples": samples, "repeats": repeats, "seed": seed}
    made = pairs(**body)
    assert json.dumps(made) == json.dumps(pairs(**json.loads(json.dumps(body))))
    assert len(made) == samples * repeats


@given(st.integers(0, SEEDS - 1), st.integers(1, 2000))
def test_no_two_instances_share_a_seed(seed: int, repeats: int) -> None:
    seeds = [each for _, each in pairs(seed=seed, repeats=repeats)]
    assert len(set(seeds)) == repeats
    assert all(0 <= each < SEEDS for each in seeds)


def test_a_draw_depends_on_seed_name_and_index_alone() -> None:
    alone = sets(parameters={"a": {"uniform": [0, 1]}}, repeats=5)
    beside = sets(parameters={"b": {"uniform": [0, 1]}, "a": {"uniform": [0, 1]}}, repeats=9)
    assert [each["a"] for each in alone] == [each["a"] for each in beside[:5]]
    assert alone != sets(parameters={"a": {"uniform": [0, 1]}}, repeats=5, seed=8)


def test_the_sets_of_today_are_those_of_tomorrow() -> None:
    made = pairs(parameters={"a": {"uniform": [0, 1]}}, repeats=2)
    chance = random.Random("7/a")
    assert [each["a"] for each, _ in made] == [chance.random(), chance.random()]
    assert [seed for _, seed in made] == [1462434388, 1969386501]


def test_repeats_are_innermost_and_the_last_parameter_varies_fastest() -> None:
    made = sets(parameters={"a": {"grid": [1, 2]}, "b": {"grid": ["x", "y"]}}, repeats=2)
    assert [(each["a"], each["b"]) for each in made] == [
        pair for pair in itertools.product([1, 2], ["x", "y"]) for _ in range(2)]
