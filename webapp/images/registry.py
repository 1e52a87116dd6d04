"""What a registry has behind a tag or a digest: manifests and blobs, as the distribution specification has it, with a
token where the registry wants one. What has a digest is held against it. Used by the resolver and by commands."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

from werkzeug.datastructures import WWWAuthenticate

from webapp.images.reference import DOCKER_HUB, Reference, is_digest
from webapp.images.wire import Answer, Refused, Silent, Wire

DOCKER_HUB_API = "registry-1.docker.io"
MANIFESTS = ", ".join((
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"))
_MOST_TOKEN = 64 << 10
_MOST_CONTENT = 1 << 20  # of a manifest and of a configuration, which both have some thousand bytes
_MOST_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
BY_DIGEST = "state the image by its digest"
STATE_COMMAND = "state command"


@dataclass(frozen=True)
class Trust:
    """What the operator says of a host with its port: `named`, that it may be anywhere, and `insecure`, that it is
    spoken to by plain HTTP."""

    named: Callable[[str], bool]
    insecure: Callable[[str], bool]


@dataclass
class Registry:
    """The registry of one image. `login`: credentials of HTTP's Basic."""

    wire: Wire
    reference: Reference
    trust: Trust
    login: str | None = None
    _shown: dict[str, str] = field(default_factory=dict, init=False)  # once it has asked for it

    def digest(self) -> str:
        """Of the image that the reference names now; of all platforms together, where it has several. Refused,
        Silent."""
        tag = self.reference.tag or "latest"
        answer = self._ask("HEAD", f"manifests/{quote(tag)}")
        _check_presence(answer, self.reference, f":{tag}")
        found = answer.headers.get("Docker-Content-Digest", "")
        if not is_digest(found):
            raise Refused(f"{self.reference.host} does not tell the digest of {self.reference.rest}", BY_DIGEST)
        return found

    def manifest(self, digest: str) -> bytes:
        """The manifest of that digest, of one platform or of several. Refused, Silent."""
        answer = self._ask("GET", f"manifests/{digest}", most=_MOST_CONTENT + 1)
        _check_presence(answer, self.reference, f"@{digest}")
        return self._verified(answer.body, digest)

    def blob(self, digest: str) -> bytes:
        """The blob of that digest, from where the registry says that it lies. Refused, Silent."""
        path = f"blobs/{digest}"
        answer, url = self._ask("GET", path, most=_MOST_CONTENT + 1), self._url(path)
        for _ in range(_MOST_REDIRECTS):
            if answer.status not in _REDIRECTS:
                break
            url = self._elsewhere(url, answer.headers.get("Location", ""))
            answer = self._follow(url)
        if 300 <= answer.status < 500 and answer.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise Refused(f"{url.netloc} answers {answer.status} for the blob {digest}", STATE_COMMAND)
        _check_presence(answer, self.reference, f"@{digest}")
        return self._verified(answer.body, digest)

    @property
    def _scheme(self) -> str:
        return "http" if self.trust.insecure(self.reference.host) else "https"

    @property
    def _trusted(self) -> bool:
        return self.trust.named(self.reference.host)

    def _url(self, path: str) -> SplitResult:
        host = DOCKER_HUB_API if self.reference.host == DOCKER_HUB else self.reference.host
        return SplitResult(self._scheme, host, f"/v2/{self.reference.path}/{path}", "", "")

    def _ask(self, method: str, path: str, *, most: int = 0) -> Answer:
        def ask() -> Answer:
            return self.wire.ask(method, self._url(path), {"Accept": MANIFESTS} | self._shown, most=most,
                                 trusted=self._trusted)

        answer = ask()
        if answer.status == HTTPStatus.UNAUTHORIZED and not self._shown:
            self._shown["Authorization"] = self._authorization(answer)
            answer = ask()
        return answer

    def _elsewhere(self, url: SplitResult, location: str) -> SplitResult:
        """Where a blob lies, as the registry says: by HTTPS, or where the operator has that host asked by HTTP."""
        try:
            wanted = urlsplit(urljoin(url.geturl(), location))._replace(fragment="")
            host = wanted.hostname or ""
        except ValueError:
            wanted, host = SplitResult("", "", "", "", ""), ""
        speaks = wanted.scheme == "https" or (wanted.scheme == "http" and self.trust.insecure(wanted.netloc))
        if not location or not host or not speaks or "@" in wanted.netloc:
            raise Refused(f"{url.netloc} sends elsewhere for a blob, to {location[:200]!r}, where nothing is asked",
                          STATE_COMMAND)
        return wanted

    def _follow(self, url: SplitResult) -> Answer:
        """What is shown to the registry is shown to nobody else. Only from a registry that the operator names does the
        way lead to an address that is not public, and only to a host that he names as well."""
        own = self._url("")
        shown = self._shown if (url.scheme, url.netloc) == (own.scheme, own.netloc) else {}
        return self.wire.ask("GET", url, shown, most=_MOST_CONTENT + 1,
                             trusted=self._trusted and self.trust.named(url.netloc))

    def _verified(self, content: bytes, digest: str) -> bytes:
        if len(content) > _MOST_CONTENT:
            raise Refused(f"{digest} of {self.reference.host} has more than 1 MiB", STATE_COMMAND)
        kind, _, wanted = digest.partition(":")
        if hashlib.new(kind, content).hexdigest() != wanted:
            raise Refused(f"what {self.reference.host} has as {digest} is something else", STATE_COMMAND)
        return content

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


def _check_presence(answer: Answer, reference: Reference, which: str) -> None:
    _check_status(answer, reference)
    if answer.status == HTTPStatus.NOT_FOUND:
        raise Refused(f"{reference.host} has no {reference.path}{which}",
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
