"""What holds of the test cluster whatever is asked of it."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.asking import NS, gated
from tests.cluster.patches import apply_operations, merge, merge_strategically
from tests.cluster.refusals import Refusal
from tests.cluster.registry import Registry
from tests.cluster.selectors import select_fields, select_labels
from tests.cluster.store import Store
from tests.cluster.watches import Selection

KEYS = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(0, 2)
MAPS = st.dictionaries(KEYS, NUMBERS | st.dictionaries(KEYS, NUMBERS))
PATCHES = st.dictionaries(KEYS, st.none() | NUMBERS | st.dictionaries(KEYS, st.none() | NUMBERS))
STEPS = st.lists(st.tuples(st.sampled_from(["make", "label", "hold", "free", "delete"]), KEYS, st.sampled_from("xy")))
CHANGES: dict[str, Any] = {
    "label": lambda value: {"metadata": {"labels": {"l": value}}},
    "hold": lambda value: {"metadata": {"finalizers": [f"simyard.io/{value}"]}},
    "free": lambda value: {"metadata": {"finalizers": None}},
}


def take(registry: Registry, step: str, name: str, value: str) -> None:
    if step == "make":
        registry.create("pods", NS, gated(name, metadata={"labels": {"l": value}}))
    elif step == "delete":
        registry.delete("pods", NS, name)
    else:
        registry.patch("pods", NS, name, "application/merge-patch+json", CHANGES[step](value))


def take_all(registry: Registry, steps: list[tuple[str, str, str]]) -> None:
    for step in steps:
        try:
            take(registry, *step)
        except Refusal as refusal:
            assert refusal.code in (404, 409, 422)


@given(before=STEPS, after=STEPS)
def test_a_list_and_the_events_after_it_are_the_list_of_later(before: Any, after: Any) -> None:
    store = Store()
    registry = Registry(store)
    registry.create("namespaces", None, {"metadata": {"name": NS}})
    selection = Selection("pods", NS, select_labels("l=x"), select_fields(""))
    take_all(registry, before)
    found, since, _, _ = registry.page(selection, 0, "")
    seen = {version.key[2]: json.loads(version.document) for version in found}
    take_all(registry, after)

    with store.watch(selection, since) as watch:
        for event in map(json.loads, watch.take(0) or []):
            name = event["object"]["metadata"]["name"]
            assert (name in seen) is (event["type"] != "ADDED")
            if event["type"] == "DELETED":
                del seen[name]
            else:
                seen[name] = event["object"]

    later, _, _, _ = registry.page(selection, 0, "")
    assert seen == {version.key[2]: json.loads(version.document) for version in later}


@given(body=MAPS, patch=PATCHES)
@pytest.mark.parametrize("apply", [merge, merge_strategically])
def test_a_merge_done_twice_is_done_once_and_leaves_the_old_alone(apply: Any, body: Any, patch: Any) -> None:
    before = copy.deepcopy(body)

    once = apply(body, patch)

    assert apply(once, patch) == once
    assert body == before


@given(body=MAPS, key=KEYS, value=st.integers(0, 2))
def test_what_a_json_patch_adds_it_can_test_and_take_away(body: Any, key: str, value: int) -> None:
    before = copy.deepcopy(body)
    operations = [{"op": "add", "path": f"/{key}", "value": value}, {"op": "test", "path": f"/{key}", "value": value},
                  {"op": "remove", "path": f"/{key}"}]

    after = apply_operations(body, operations)

    assert after == {name: item for name, item in before.items() if name != key}
    assert body == before
