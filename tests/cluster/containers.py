"""One container of a pod on a node: how its program is made out of image and spec, and what state it is in."""

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.defaults import timestamp
from tests.cluster.spawner import Process, Spawner, StartFailed
from tests.cluster.volumes import Body, Paths, mounted_places, read_field

_MESSAGE_BYTES = 4096
_UNKNOWN = {"envFrom", "livenessProbe", "readinessProbe", "startupProbe", "postStart", "stopSignal"}
_LOG_MESSAGE_BYTES, _LOG_MESSAGE_LINES = 2048, 80
_START_ERROR = ("failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
                "failed: unable to start container process: {}: unknown")


@dataclass(frozen=True)
class Image:
    """What a registry has under a name. `paths` are where on this machine the image's own files are."""

    entrypoint: list[str] | None = None
    command: list[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    paths: Mapping[str, Path] = field(default_factory=dict)
    digest: str | None = None

    def id(self, name: str) -> str:
        """As containerd names what it has pulled by `name`: in full, by its digest."""
        digest = self.digest or f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        folder, slash, last = name.partition("@")[0].rpartition("/")
        repository = f"{folder}{slash}{last.partition(':')[0]}"
        host, slash, _ = repository.partition("/")
        if not slash:
            repository = f"docker.io/library/{repository}"
        elif host != "localhost" and "." not in host and ":" not in host:
            repository = f"docker.io/{repository}"
        return f"{repository}@{digest}"


class Misconfigured(Exception):
    """A container that cannot be made: `reason` is the one it waits with."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Container:
    """State as in a container status: exactly one of waiting, running, terminated."""

    def __init__(self, pod: Body, spec: Body, folder: Path, *, is_init: bool) -> None:
        self.pod, self.spec = pod, spec
        self.name: str = spec["name"]
        self.is_sidecar = is_init and spec.get("restartPolicy") == "Always"
        self.is_init = is_init and not self.is_sidecar
        self.state: Body = {"waiting": {"reason": "PodInitializing"}}
        self.last_state: Body = {}
        self.restarts = 0
        self.process: Process | None = None
        self.told_to_stop = False
        self.end_reason: str | None = None  # what its next end is due to, if not its own doing
        self.image: Image | None = None
        self._runs = 0
        self._folder: Path = folder / "containers" / self.name
        self._volumes = folder / "volumes"
        self._known: dict[str, str] = {}  # the variables that commands may refer to
        self._environment: dict[str, str] = {}
        self._paths = Paths({})
        self._cwd = folder

    @property
    def is_running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """None unless it has ended and nothing was said of another start."""
        code: int | None = self.state.get("terminated", {}).get("exitCode")
        return code

    @property
    def log(self) -> Path:
        return self._folder / f"{max(self._runs - 1, 0)}.log"

    @property
    def _message_file(self) -> Path:
        return self._folder / "termination-log"

    def wait_for(self, reason: str, message: str | None = None) -> None:
        if "terminated" in self.state:
            self.last_state = self.state
        self.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}

    def start(self, spawner: Spawner, image: Image) -> Process | None:
        """Run it; None when there is nothing to execute, which ends it with 128."""
        self._prepare(image)
        if self._runs:
            self.restarts += 1
        self._runs += 1
        self.image = image
        self.end_reason, self.told_to_stop = None, False
        self.log.touch()
        try:
            self.process = spawner.start(self._argv(image), self._environment, self._cwd, self.log)
        except StartFailed as failure:
            self._end(128, "StartError", _START_ERROR.format(failure), started="1970-01-01T00:00:00Z")
            return None
        self.state = {"running": {"startedAt": timestamp()}}
        return self.process

    def start_hook(self, spawner: Spawner) -> Process | None:
        """Run its preStop hook; None when it has none or that cannot be executed."""
        command = self.spec.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if not command:
            return None
        try:
            argv = [self._text(word) for word in command]
            return spawner.start(argv, self._environment, self._cwd, Path("/dev/null"))
        except StartFailed:
            return None

    def end(self, code: int) -> None:
        """Its process has ended by itself, by a signal, or by what `end_reason` says."""
        if self.end_reason == "Unknown":
            self._end(255, "Unknown", None)
            return
        reason = self.end_reason or ("Completed" if code == 0 else "Error")
        self._end(code, reason, self._read_message(code))

    def lose(self) -> None:
        """Its end is not known, nor how it came to it."""
        self.state = {"terminated": {
            "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None,
            "message": "The container could not be located when the pod was terminated"}}

    def _end(self, code: int, reason: str, message: str | None, started: str | None = None) -> None:
        self.process = None
        begin = started or self.state.get("running", {}).get("startedAt") or timestamp()
        self.state = {"terminated": {
            "exitCode": code, "reason": reason, "startedAt": begin, "finishedAt": timestamp(),
            "containerID": self._id, **({"message": message} if message else {})}}

    @property
    def _id(self) -> str:
        name = f"{self.pod['metadata']['uid']}/{self.name}/{self._runs}"
        return f"containerd://{hashlib.sha256(name.encode()).hexdigest()}"

    def status(self) -> Body:
        status = {
            "name": self.name, "state": self.state, "lastState": self.last_state, "restartCount": self.restarts,
            "image": self.spec["image"], "imageID": self.image.id(self.spec["image"]) if self.image else "",
            "ready": self.is_running or (self.is_init and self.exit_code == 0), "started": self.is_running}
        return status | ({"containerID": self._id} if self._runs else {})

    def _prepare(self, image: Image) -> None:
        unknown = _UNKNOWN & {*self.spec, *self.spec.get("lifecycle", {})}
        if unknown:
            raise Misconfigured("CreateContainerConfigError", f"nodes of tests know nothing of {', '.join(unknown)}")
        root = self._folder / "rootfs"
        root.mkdir(parents=True, exist_ok=True)
        self._message_file.write_bytes(b"")
        self._paths = Paths({**image.paths, **mounted_places(self.spec, self._volumes),
                             self.spec["terminationMessagePath"]: self._message_file})
        self._environment = self._make_environment(image, root)
        wanted = self.spec.get("workingDir") or image.working_dir or "/"
        place = self._paths.on_host(wanted)
        self._cwd = Path(place) if place != wanted else root / wanted.lstrip("/")
        self._cwd.mkdir(parents=True, exist_ok=True)

    def _make_environment(self, image: Image, home: Path) -> dict[str, str]:
        """Paths are replaced last and once: those of the host may contain a path of the container, as /tmp."""
        service = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
        self._known = {**service, **image.environment}
        for variable in self.spec.get("env", []):
            self._known[variable["name"]] = self._value(variable, self._known)
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home), "HOSTNAME": self.pod["metadata"]["name"],
            **{name: self._paths.on_host(value) for name, value in self._known.items()}}

    def _value(self, variable: Body, known: dict[str, str]) -> str:
        source = variable.get("valueFrom")
        if source is None:
            return _expand(variable.get("value", ""), known)
        if "fieldRef" not in source:
            kind, reference = next(iter(source.items()))
            raise Misconfigured("CreateContainerConfigError", f'{kind} "{reference.get("name")}" not found')
        return read_field(self.pod, source["fieldRef"]["fieldPath"])

    def _argv(self, image: Image) -> list[str]:
        entrypoint, command = self.spec.get("command"), self.spec.get("args")
        if entrypoint is None:
            entrypoint = image.entrypoint or []
            command = image.command if command is None else command
        argv = [self._text(word) for word in [*entrypoint, *(command or [])]]
        if not argv:
            raise Misconfigured("CreateContainerError", "failed to generate container spec: no command specified")
        return argv

    def _text(self, word: str) -> str:
        return self._paths.on_host(_expand(word, self._known))

    def _read_message(self, code: int) -> str | None:
        message = self._message_file.read_bytes()[:_MESSAGE_BYTES]
        if not message and code and self.spec["terminationMessagePolicy"] == "FallbackToLogsOnError":
            message = b"".join(self.log.read_bytes().splitlines(keepends=True)[-_LOG_MESSAGE_LINES:])
            message = message[-_LOG_MESSAGE_BYTES:]
        return message.decode(errors="replace") or None


def _expand(text: str, known: Mapping[str, str]) -> str:
    """$(NAME) is the value of a known variable, $$ a dollar; an unknown $(NAME) stays as it is."""
    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^()]+)\)", replace, text)
