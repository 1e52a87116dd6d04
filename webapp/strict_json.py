"""Reads JSON strictly, for every body that web accepts: what another parser would read otherwise is refused."""

import json
import math
import re
from typing import Any

MAX_DEPTH = 64

_STRINGS = re.compile(r'"(?:[^"\\]+|\\.)*"')
_BRACKETS = re.compile(r"[^\[\]{}]+")
_NUL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Malformed(ValueError):
    """The text says what is wrong with the body."""


def parse(body: bytes, *, nul_allowed: bool = False) -> Any:
    """The JSON value of `body`, which must be UTF-8. Malformed when it is broken or has NaN, an infinity, a key twice,
    a NUL character or half a surrogate pair, or is nested deeper than MAX_DEPTH."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    if not nul_allowed and _NUL_ESCAPE.search(text):
        raise Malformed("NUL characters (\\u0000) are not accepted")
    _check_depth(text)
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except Malformed:
        raise
    except ValueError as error:  # an integer with thousands of digits
        raise Malformed("the body is not JSON we accept: a number has too many digits") from error
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(value)
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.sub("", _STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"the key {json.dumps(twice)} appears twice in an object")
    return found


def _refuse_constant(word: str) -> Any:
    raise Malformed(f"{word} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Malformed(f"the number {digits[:40]} is out of range")
    return value


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Malformed("a string has half a surrogate pair") from error
