"""What a data folder remembers from its first start on: the ports and the secrets of its stack."""

import secrets
from pathlib import Path

from standalone import files
from standalone.ports import Ports


class Kept:
    """Ports and secrets by name, read from `<folder>/kept.json` and written there by save()."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "kept.json"
        known = files.read_json(self._file)
        self._secrets: dict[str, str] = known.get("secrets", {})
        self.ports = Ports(known.get("ports", {}))

    def secret(self, name: str) -> str:
        """The secret of this name, made when there was none: 43 characters, all safe in a URL."""
        return self._secrets.setdefault(name, secrets.token_urlsafe(32))

    def save(self) -> None:
        """Write what was chosen; done before it is used for anything that stays."""
        files.replace_json(self._file, {"ports": self.ports.known, "secrets": self._secrets})
