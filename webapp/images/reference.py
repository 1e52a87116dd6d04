"""References of container images, by the grammar of the distribution project that kubelet and containers know them by,
and the operator's patterns of those that are allowed. Used by the resolver, and where programs are made."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

DOCKER_HUB = "docker.io"
_OFFICIAL = "library/"
_LONGEST_PATH = 255
DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)"
                        rf"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(?P<digest>{DIGEST}))?")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


class NotAReference(ValueError):
    """The text is no reference of an image."""


@dataclass(frozen=True)
class Reference:
    """What an image's name says, in full: `host` with its port, `path` of the repository, and tag or digest or both."""

    host: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """`robot` is docker.io/library/robot. NotAReference."""
        match = _REFERENCE.fullmatch(text)
        if match is None or _IMAGE_ID.fullmatch(text):
            raise NotAReference(f"{text[:200]} is no reference of an image, as ghcr.io/us/robot:1.4")
        host, path = _normal(match["host"], match["path"])
        if len(path) > _LONGEST_PATH:
            raise NotAReference(f"a repository's name has at most {_LONGEST_PATH} characters")
        return cls(host, path, match["tag"], match["digest"])

    @property
    def rest(self) -> str:
        """All but the host."""
        return self.path + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def pinned(self, digest: str) -> str:
        """The image of that digest and no other, in full, so that no node's settings make another of it."""
        return f"{self.host}/{self.path}@{digest}"


def is_digest(text: str) -> bool:
    """Whether it is one, of a kind that nodes take."""
    return re.fullmatch(DIGEST, text) is not None


def _normal(host: str | None, path: str) -> tuple[str, str]:
    """A first part that could be a directory of Docker Hub is one."""
    if host is not None and not _is_host(host):
        host, path = None, f"{host}/{path}"
    if host in (None, "index.docker.io"):
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in path:
        path = _OFFICIAL + path
    return host or DOCKER_HUB, path


def _is_host(text: str) -> bool:
    return text == "localhost" or any(each in text for each in ".:") or text != text.lower()


@dataclass(frozen=True)
class Allowed:
    """The operator's patterns. Host and rest of an image are held against them each by itself: what `robot:*` says of
    Docker Hub's robot lets nobody name a registry `robot:5000`."""

    patterns: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "Allowed":
        """None at all allow every image."""
        return cls(tuple(map(_halves, patterns)))

    def allows(self, image: str) -> bool:
        """Whether a pattern fits it, or there is none."""
        if not self.patterns:
            return True
        try:
            reference = Reference.parse(image)
        except NotAReference:
            return False
        return any(fnmatchcase(reference.host, host) and any(fnmatchcase(each, rest) for each in _spellings(reference))
                   for host, rest in self.patterns)

    def names(self, host: str) -> bool:
        """Whether a pattern has this very host, without a wildcard."""
        return any(host == each and not _WILDCARD.search(each) for each, _ in self.patterns)


_WILDCARD = re.compile(r"[*?\[]")


def _halves(pattern: str) -> tuple[str, str]:
    """The patterns of host and of rest."""
    if pattern == "*":
        return "*", "*"
    host, slash, rest = pattern.partition("/")
    if not slash or not (_is_host(host) or _WILDCARD.search(host)):
        return DOCKER_HUB, pattern
    return DOCKER_HUB if host == "index.docker.io" else host, rest


def _spellings(reference: Reference) -> Iterable[str]:
    yield reference.rest
    if reference.host == DOCKER_HUB and reference.path.startswith(_OFFICIAL):
        yield reference.rest.removeprefix(_OFFICIAL)
