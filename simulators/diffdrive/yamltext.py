"""Block-style YAML for the few values in a rosbag2's metadata. Used by metadata.py."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

PLAIN = re.compile(r"(?!(true|false|null|yes|no|on|off|y|n)$)[A-Za-z_/][A-Za-z0-9_./]*", re.IGNORECASE)

Value = Mapping[str, "Value"] | Sequence["Value"] | str | int | None


def dump(value: Value) -> str:
    """`value` as YAML 1.2 text; strings that could be read as something else are quoted, as in JSON."""
    return "\n".join(lines(value))


def lines(value: Value) -> list[str]:
    """`value` line by line, not indented."""
    if isinstance(value, Mapping) and value:
        return [line for key, inner in value.items() for line in under(f"{key}:", inner)]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [line for inner in value for line in item(inner)]
    return [scalar(value)]


def under(key: str, value: Value) -> list[str]:
    """`value` beside its key, or below it if it takes more than a word."""
    if value and isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return [key, *(f"  {line}" for line in lines(value))]
    return [f"{key} {scalar(value)}"]


def item(value: Value) -> list[str]:
    """`value` behind a dash."""
    first, *rest = lines(value)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def scalar(value: Value) -> str:
    """`value` in one line; JSON is YAML too."""
    if value is None:
        return "~"
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return value
    return json.dumps(value)
