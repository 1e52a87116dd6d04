"""What a registry has behind a tag: one HEAD of its manifest, as the distribution specification has it, with a token
where the registry wants one. Used by the resolver."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from werkzeug.datastructures import WWWAuthenticate

from webapp.images.reference import DOCKER_HUB, Reference, is_digest
from webapp.images.wire import Answer, Refused, Silent, Wire

DOCKER_HUB_API = "registry-1.docker.io"
MANIFESTS = ", ".join((
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"))
_MOST_TOKEN = 64 << 10
BY_DIGEST = "state the image by its digest"


@dataclass(frozen=True)
class Trust:
    """What the operator says of a host with its port: `named`, that it may be anywhere, and `insecure`, that it is
    spoken to by plain HTTP."""

    named: Callable[[str], bool]
    insecure: Callable[[str], bool]


@dataclass(frozen=True)
class Registry:
    """The registry of one image. `login`: credentials of HTTP's Basic."""

    wire: Wire
    reference: Reference
    trust: Trust
    login: str | None = None

    def digest(self) -> str:
        """Of the image that the reference names now; of all platforms together, where it has several. Refused,
        Silent."""
        answer = self._head({})
        if answer.status == HTTPStatus.UNAUTHORIZED:
            answer = self._head({"Authorization": self._authorization(answer)})
        _check_status(answer, self.reference)
        _check_presence(answer, self.reference)
        found = answer.headers.get("Docker-Content-Digest", "")
        if not is_digest(found):
            raise Refused(f"{self.reference.host} does not tell the digest of {self.reference.rest}", BY_DIGEST)
        return found

    @property
    def _scheme(self) -> str:
        return "http" if self.trust.insecure(self.reference.host) else "https"

    @property
    def _trusted(self) -> bool:
        return self.trust.named(self.reference.host)

    def _head(self, headers: dict[str, str]) -> Answer:
        host = DOCKER_HUB_API if self.reference.host == DOCKER_HUB else self.reference.host
        path = f"/v2/{self.reference.path}/manifests/{quote(self.reference.tag or 'latest')}"
        return self.wire.ask("HEAD", SplitResult(self._scheme, host, path, "", ""), {"Accept": MANIFESTS} | headers,
                             most=0, trusted=self._trusted)

    def _authorization(self, answer: Answer) -> str:
        """What the registry wants to be shown."""
        for text in answer.headers.get_all("WWW-Authenticate", []):
            challenge = WWWAuthenticate.from_header(text)
            if challenge is not None and challenge.type == "bearer":
                return f"Bearer {self._token(challenge.get('realm') or '', challenge.get('service'))}"
            if challenge is not None and challenge.type == "basic" and self.login:
                return f"Basic {self.login}"
        raise _not_let_in(self.reference, answer.status)

    def _token(self, realm: str, service: str | None) -> str:
        url = self._checked(realm)
        asked = ({"service": service} if service else {}) | {"scope": f"repository:{self.reference.path}:pull"}
        url = url._replace(query="&".join(filter(None, [url.query, urlencode(asked)])), fragment="")
        answer = self.wire.ask("GET", url, {"Authorization": f"Basic {self.login}"} if self.login else {},
                               most=_MOST_TOKEN + 1, trusted=self._trusted)
        _check_status(answer, self.reference)
        given = answer.status == HTTPStatus.OK and len(answer.body) <= _MOST_TOKEN
        token = _token_in(answer.body) if given else None
        if token is None:
            raise Refused(f"{url.netloc} gives no token for {self.reference.path}", BY_DIGEST)
        return token

    def _checked(self, realm: str) -> SplitResult:
        """The registry says where tokens are given; it may not send us, and what we know, anywhere it likes."""
        try:
            url = urlsplit(realm)
            host, registry = url.hostname or "", urlsplit(f"//{self.reference.host}").hostname or ""
        except ValueError:
            url, host, registry = SplitResult("", "", "", "", ""), "", ""
        speaks = url.scheme == "https" or (url.scheme == "http" and self.trust.insecure(url.netloc))
        if not host or not speaks or "@" in url.netloc or not is_of_one_house(host, registry):
            raise Refused(f"{self.reference.host} wants a token of {realm[:200]!r}, which is not asked", BY_DIGEST)
        return url


def is_of_one_house(host: str, registry: str) -> bool:
    """Whether two hosts are one, one is below the other, or both stand side by side below a name of two parts or more,
    as auth.docker.io and docker.io, gitlab.com and registry.gitlab.com, login.example.com and images.example.com."""
    above = registry.partition(".")[2]
    houses = [registry, above] if "." in above and not above[-1].isdigit() else [registry]
    return any(host == each or host.endswith(f".{each}") for each in houses)


def _check_status(answer: Answer, reference: Reference) -> None:
    """What registries and those who give their tokens have in common."""
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise _not_let_in(reference, answer.status)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500:
        raise Silent(f"{reference.host} answers {answer.status}")


def _check_presence(answer: Answer, reference: Reference) -> None:
    if answer.status == HTTPStatus.NOT_FOUND:
        raise Refused(f"{reference.host} has no {reference.path}:{reference.tag or 'latest'}",
                      "push it first, or correct its name")
    if 300 <= answer.status < 400:
        raise Refused(f"{reference.host} sends elsewhere, to {str(answer.headers.get('Location'))[:200]!r}, where "
                      "nothing is asked", f"name the registry that has the image, or {BY_DIGEST}")
    if answer.status != HTTPStatus.OK:
        raise Refused(f"{reference.host} answers {answer.status}", BY_DIGEST)


def _not_let_in(reference: Reference, status: int) -> Refused:
    return Refused(f"{reference.host} does not show {reference.path} to us ({status}), or has none",
                   "correct its name; a private one needs the operator's REGISTRY_CREDENTIALS")


def _token_in(body: bytes) -> str | None:
    try:
        said = json.loads(body)
        token = said.get("token") or said.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        return None
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else None
