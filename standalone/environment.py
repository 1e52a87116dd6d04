"""The environment of our processes: the user's own and the `.env` of the current folder, and the stack's over them."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from standalone.servers import Servers

ROOT = Path(__file__).parents[1]  # where our packages are
OURS = ("SIMYARD_ADMIN_EMAIL", "SIMYARD_ADMIN_PASSWORD")  # for the install step alone


def read() -> dict[str, str]:
    """What is set: in the process' environment, and in `.env` what is not there. Empty is not set."""
    written = dotenv_values(".env")
    return {name: value for name, value in {**written, **os.environ}.items() if value}


def for_processes(settings: Mapping[str, str], servers: Servers, secret_key: str,
                  reader: Mapping[str, str]) -> dict[str, str]:
    """The environment of each process of ours: settings as given, and where everything of this stack is. `reader`: how
    web and reader find and know each other."""
    data = servers.folder
    base = Path(settings.get("STORAGE_BASE_DIR") or data / "work").absolute()
    inherited = {name: value for name, value in settings.items() if name not in OURS}
    return inherited | dict(reader) | {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "MINIO_ENDPOINT": servers.s3.endpoint,
        "MINIO_ACCESS_KEY": servers.s3.access_key,
        "MINIO_SECRET_KEY": servers.s3.secret_key,
        "MINIO_BUCKET": servers.s3.bucket,
        "MINIO_USE_SSL": str(servers.s3.secure).lower(),
        "SECRET_KEY": settings.get("SECRET_KEY") or secret_key,
        "RUNTIME": settings.get("RUNTIME") or "local",
        "STORAGE_BASE_DIR": str(base),
        "SIMYARD_ENDPOINTS": str(data / "endpoints.json"),
        "SIMYARD_TEMPLATES": settings.get("SIMYARD_TEMPLATES")
        or os.pathsep.join(map(str, sorted(ROOT.glob("simulators/*/template.json")))),
        # Our own code and programs first, wherever this is started from.
        "PATH": _before(str(Path(sys.executable).parent), settings.get("PATH", os.defpath)),
        "PYTHONPATH": _before(str(ROOT), settings.get("PYTHONPATH", "")),
        "PYTHONUNBUFFERED": "1",
    }


def _before(first: str, rest: str) -> str:
    return os.pathsep.join([first, *(part for part in rest.split(os.pathsep) if part and part != first)])
