import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.strict_json import MAX_DEPTH, Malformed, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), inner, max_size=4),
    max_leaves=20)


@given(json_values)
def test_reads_what_json_writes(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200))
def test_never_fails_but_as_malformed(body: bytes) -> None:
    try:
        parse(body)
    except Malformed as error:
        assert str(error)


@pytest.mark.parametrize(("body", "said"), [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b'{"a": 1,}', "line 1, column"),
    (b"\xff", "not UTF-8"),
    (b'{"a": NaN}', "NaN"),
    (b"[-Infinity]", "-Infinity"),
    (b"[1e999]", "out of range"),
    (b'{"a": 1, "b": {"c": 1, "c": 2}}', '"c" appears twice'),
    (rb'["\u0000"]', "NUL"),
    (rb'["\\\u0000"]', "NUL"),
    (rb'["\ud800"]', "surrogate"),
    (rb'{"\uDC00": 1}', "surrogate"),
    (b"[" * 1000 + b"]" * 1000, "nested"),
    (b"[" * 100_000, "nested"),
    (b'{"a":' * 1000 + b"1" + b"}" * 1000, "nested"),
    (b"[" + b"9" * 5000 + b"]", "digits"),
])
def test_says_what_is_wrong(body: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        parse(body)


def test_takes_what_only_looks_wrong() -> None:
    assert parse(rb'["\\u0000"]') == ["\\u0000"]
    assert parse(rb'["\ud83d\ude00"]') == ["😀"]
    assert parse(b'["' + b"[" * 1000 + b'"]') == ["[" * 1000]
    assert parse(b"[" + b"[]," * 1000 + b"[]]") == [[]] * 1001
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert parse(rb'["\u0000"]', nul_allowed=True) == ["\0"]
