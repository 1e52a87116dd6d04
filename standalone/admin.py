"""The first user of a stack, and the profile with which the command line is that user."""

import logging
import secrets
from collections.abc import Mapping
from pathlib import Path

from standalone import files

log = logging.getLogger(__name__)

EMAIL = "admin@localhost"


def keep(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Email and password, as set, else as kept in `<folder>/admin.json`, else new; keeps them there."""
    path = folder / "admin.json"
    known = files.read_json(path)
    admin = {
        "email": settings.get("SIMYARD_ADMIN_EMAIL") or known.get("email") or EMAIL,
        "password": settings.get("SIMYARD_ADMIN_PASSWORD") or known.get("password") or secrets.token_urlsafe(16),
    }
    if admin != known:
        files.replace_json(path, admin)
    return admin


def write_profile(url: str, folder: Path, settings: Mapping[str, str]) -> None:
    """Tell the command line where the stack is and who to be; only warns where that cannot be written."""
    try:
        home = settings.get("XDG_CONFIG_HOME") or Path(settings.get("HOME") or "~").expanduser() / ".config"
        path = Path(home) / "simyard" / "profile.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.replace_json(path, {"url": url, "admin": str(folder / "admin.json")})
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home at all
        log.warning("the command line will need SIMYARD_URL, for its profile cannot be written: %s", error)
