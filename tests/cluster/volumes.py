"""What a container sees of the file system: volumes are folders of the host, and the paths they are mounted at are
replaced wherever the pod names them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Body = dict[str, Any]
_SOURCES = {"emptyDir", "downwardAPI"}


def has_unknown_volume(pod: Body) -> bool:
    """Whether a node of ours cannot mount all volumes of a pod; such a pod waits for ever, as for a missing secret."""
    volumes = pod["spec"].get("volumes", [])
    return any(not set(volume) & _SOURCES or any(
        "fieldRef" not in item for item in volume.get("downwardAPI", {}).get("items", [])) for volume in volumes)


def make_volumes(pod: Body, folder: Path) -> None:
    """Make each volume a folder below `folder`, downward API files as they are now."""
    for volume in pod["spec"].get("volumes", []):
        place = folder / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o777)
        source = volume.get("downwardAPI", {})
        for item in source.get("items", []):
            file = place / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(read_field(pod, item["fieldRef"]["fieldPath"]))
            file.chmod(item.get("mode", source.get("defaultMode", 0o644)))


def read_field(pod: Body, path: str) -> str:
    """What a fieldRef refers to, "" when there is nothing."""
    plain, bracket, key = path.partition("['")
    value: Any = pod
    for part in plain.split("."):
        value = value.get(part, {})
    if bracket:
        value = value.get(key.removesuffix("']"), "")
    elif plain in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in sorted(value.items()))
    return value if isinstance(value, str) else ""


class Paths:
    """Where on the host the paths of a container are. Longer ones go first; a path is replaced where it is named whole
    or with what is below it, never as a part of another name."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = {path.rstrip("/"): str(place) for path, place in places.items() if path.rstrip("/")}
        longest_first = sorted(self._places, key=len, reverse=True)
        names = "|".join(re.escape(path) for path in longest_first)
        self._pattern = re.compile(rf"(?<![\w.\-/])({names})(?![\w.\-])") if names else None

    def on_host(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._places[match[1]], text)


def mounted_places(container: Body, volumes: Path) -> dict[str, Path]:
    """The folder or file of the host behind each of a container's mounts. One that lies within another is found there
    as well, by whoever goes there from above."""
    places: dict[str, Path] = {}
    for mount in sorted(container.get("volumeMounts", []), key=lambda mount: len(mount["mountPath"])):
        place, path = volumes / mount["name"] / mount.get("subPath", ""), mount["mountPath"]
        if not place.exists():
            place.mkdir(parents=True)
        for above in (above for above in places if path.startswith(f"{above}/")):
            within = places[above] / path[len(above) + 1:]
            if not within.is_symlink():
                within.symlink_to(place)
        places[path] = place
    return places
