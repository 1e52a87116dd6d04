"""Prints the API's description as docs/openapi.json keeps it: `python -m webapp.openapi`, called by `make openapi`."""

import json
import sys
from typing import Any

from pydantic import SecretStr

from shared.connections import Connections
from shared.settings import WebSettings
from webapp import create_app

# It opens nothing, so where the servers would be says nothing.
NOWHERE: dict[str, Any] = {
    "database_url": "postgresql://nobody:x@127.0.0.1:9/none", "redis_url": "redis://127.0.0.1:9/0",
    "minio_endpoint": "127.0.0.1:9", "minio_access_key": "none", "minio_secret_key": SecretStr("none"),
    "secret_key": "0" * 32}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the API under its usual prefix, whatever the environment says."""
    settings = WebSettings(_env_file=None, api_str="/api/v1", **NOWHERE)
    app = create_app(settings, Connections(settings, application="openapi", pool_size=1))
    found: dict[str, Any] = app.api_doc
    return found


def text() -> str:
    """The document as it is kept: indented, its keys in order."""
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
