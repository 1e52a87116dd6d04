"""Takes JSON apart without trusting it: each value has the type and bounds that are asked for. Used by index_codec."""

from typing import Any

from workers.bags import limits


class BadIndex(Exception):
    """Bytes that are no index of ours. The text says why."""


class Fields:
    """The members of a JSON object. Everything raises BadIndex for what is not there, or is something else."""

    def __init__(self, found: Any) -> None:
        if not isinstance(found, dict):
            raise BadIndex("no object")
        self._found = found

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def has(self, name: str) -> bool:
        """True when it is there and not null."""
        return self._found.get(name) is not None

    def text(self, name: str) -> str:
        return self._text(name, self._found.get(name))

    def flag(self, name: str) -> bool:
        value = self._found.get(name)
        if not isinstance(value, bool):
            raise BadIndex(f"{name} is no flag")
        return value

    def integer(self, name: str, least: int = 0, most: int = limits.INT64_MAX) -> int:
        return integers([self._found.get(name)], least, most)[0]

    def optional(self, name: str, least: int, most: int = limits.INT64_MAX) -> int | None:
        return self.integer(name, least, most) if self.has(name) else None

    def integers(self, name: str, most: int) -> list[int]:
        return integers(self._list(name, most), limits.INT64_MIN * 2, limits.INT64_MAX * 2)

    def texts(self, name: str, most: int) -> list[str]:
        return [self._text(name, value) for value in self._list(name, most)]

    def object(self, name: str) -> "Fields":
        return Fields(self._found.get(name))

    def objects(self, name: str, most: int) -> list["Fields"]:
        return [Fields(value) for value in self._list(name, most)]

    def lists(self, name: str, most: int) -> list[list[Any]]:
        found = self._list(name, most)
        if not all(isinstance(value, list) for value in found):
            raise BadIndex(f"{name} holds more than lists")
        return found

    def pairs(self, name: str, most: int) -> list[tuple[int, int]]:
        """Two integers each."""
        found = self.lists(name, most)
        if not all(len(pair) == 2 for pair in found):
            raise BadIndex(f"{name} holds more than pairs")
        integers([number for pair in found for number in pair], limits.INT64_MIN)
        return [(one, other) for one, other in found]

    def _text(self, name: str, value: Any) -> str:
        # Half of a surrogate pair is JSON, and no text.
        if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise BadIndex(f"{name} is no text")
        return value

    def _list(self, name: str, most: int) -> list[Any]:
        value = self._found.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise BadIndex(f"{name} is no list of at most {most}")
        return value


def integers(values: list[Any], least: int, most: int = limits.INT64_MAX) -> list[int]:
    """The same list, once all of it are integers within the bounds. Raises BadIndex."""
    if values and (set(map(type, values)) != {int} or min(values) < least or max(values) > most):
        raise BadIndex(f"not all are integers from {least} to {most}")
    return values
