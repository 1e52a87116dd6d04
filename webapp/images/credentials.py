"""The operator's logins to registries, in the file that `docker login` writes and Secrets of registries hold."""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.domain.errors import Unavailable
from webapp.images.reference import DOCKER_HUB, Reference

_MOST = 1 << 20
_OF_DOCKER_HUB = ("index.docker.io", "registry-1.docker.io")


def login_of(file: Path | None, reference: Reference) -> str | None:
    """The credentials of HTTP's Basic for this repository, None when there are none. The file is read each time, for a
    Secret may be renewed; Unavailable when it cannot be."""
    if file is None:
        return None
    try:
        with file.open("rb") as stream:
            logins = dict(_logins(json.loads(stream.read(_MOST))["auths"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"REGISTRY_CREDENTIALS cannot be read: {type(error).__name__}", code="registry_credentials",
                          remedy="tell the operator: it is to be a config.json as `docker login` writes it") from error
    name = f"{reference.host}/{reference.path}/"
    return max(((len(place), login) for place, login in logins.items() if name.startswith(f"{place}/")),
               default=(0, None))[1]


def _logins(auths: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for key, entry in auths.items():
        if "auth" in entry:
            yield _place(key), str(entry["auth"])
        elif "username" in entry:
            pair = f"{entry['username']}:{entry['password']}"
            yield _place(key), base64.b64encode(pair.encode()).decode()


def _place(key: str) -> str:
    """A host, or a host with the beginning of a path."""
    host, _, path = key.partition("://")[2].partition("/") if "://" in key else key.partition("/")
    if host in _OF_DOCKER_HUB:
        host = DOCKER_HUB
    path = path.strip("/")
    return f"{host}/{path}" if path and path not in ("v1", "v2") else host
