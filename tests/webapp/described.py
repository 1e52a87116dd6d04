"""What docs/openapi.json says of the headers of answers."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from flask import Response
from werkzeug.routing import Rule

TOLD = {"Location", "ETag", "Retry-After", "Idempotent-Replayed"}


@cache
def paths() -> dict[str, Any]:
    document = Path(__file__).parents[2] / "docs/openapi.json"
    found: dict[str, Any] = json.loads(document.read_text())["paths"]
    return found


def differences(rule: Rule | None, method: str, response: Response) -> list[str]:
    """The headers that an answer has though they are not described, or has not though they are."""
    path = "" if rule is None else re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
    described = paths().get(path, {}).get(method.lower(), {}).get("responses", {}).get(str(response.status_code))
    if described is None:
        return []
    headers = described.get("headers", {})
    wrong = [f"{name} is not described" for name in TOLD & set(response.headers.keys()) - headers.keys()]
    wrong += [f"{name} is not there" for name, each in headers.items()
              if each["required"] and name not in response.headers]
    return [f"{method} {path} {response.status_code}: {each}" for each in wrong]
