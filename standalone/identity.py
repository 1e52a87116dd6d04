"""As whom Postgres runs, for root it refuses: as ourselves, else as nobody, else as nobody in a user namespace."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from standalone.failures import StartFailed, one_line

# In a user namespace of its own a process of root's looks like nobody to itself, and its files stay root's.
NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


@dataclass(frozen=True)
class Identity:
    """The (uid, gid) to become, the words that go before the command, and the (uid, gid) that the files belong to."""

    user: tuple[int, int] = (-1, -1)
    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] = (-1, -1)


def find(binary: Path, folder: Path) -> Identity:
    """The first identity under which the program runs and the folder can be entered; tries it out."""
    if os.geteuid() != 0:
        return Identity()
    nobody = _nobody()
    if nobody and _failure([], binary, folder, nobody) is None:
        return Identity(user=nobody, owner=nobody)
    failure = _failure(NAMESPACE, binary, folder)
    if failure is None:
        return Identity(prefix=NAMESPACE, owner=(0, 0))
    raise StartFailed("postgres", f"it does not run as root, the user nobody cannot reach {binary} and {folder}, and a "
                      f"user namespace cannot be made ({failure})", "start as an ordinary user, or choose --data (and "
                      "the installation) in folders that everybody may enter, or set DATABASE_URL")


def _nobody() -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _failure(prefix: Sequence[str], binary: Path, folder: Path, user: tuple[int, int] | None = None) -> str | None:
    """What was said when it was tried; None when it works."""
    command = [*prefix, "sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(folder), str(binary)]
    uid, gid = user or (None, None)
    try:
        done = subprocess.run(command, user=uid, group=gid, extra_groups=[] if user else None, cwd="/", check=False,
                              capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return one_line(error)
    return None if done.returncode == 0 else one_line(done.stderr)
