"""Single requests to registries, whose addresses users choose: within one span of time, to public addresses unless the
operator named the host, without redirects, and no more of an answer than is asked for. Used by the registry."""

import http.client
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic
from urllib.parse import SplitResult

PORTS = {"https": 443, "http": 80}
_SITE_LOCAL = IPv6Network("fec0::/10")  # given up long ago, and still no one's in the internet
_TRANSLATED = IPv6Network("64:ff9b::/96")  # of IPv4, by NAT64
_UNKNOWN_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Refused(Exception):
    """The image cannot be resolved, however often it is tried: why, and what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


class Silent(Exception):
    """No answer, or none yet: the same may succeed later."""


@dataclass(frozen=True)
class Answer:
    """Of one request, which may be of any status."""

    status: int
    headers: Message
    body: bytes


class Wire:
    """What is asked for one body: all of it takes `seconds` at most, but for the wait for a name server."""

    def __init__(self, seconds: float) -> None:
        self._until = monotonic() + seconds
        self._socket: socket.socket | None = None

    def left(self) -> float:
        """Seconds; Silent when there are none."""
        left = self._until - monotonic()
        if left <= 0:
            raise Silent("it takes too long")
        return left

    def cut(self) -> None:
        """End what is under way, from another thread: a server that sends a byte at a time never lets a read time
        out."""
        self._until = 0.0
        if (open_now := self._socket) is not None:
            with suppress(OSError):  # closed meanwhile
                open_now.shutdown(socket.SHUT_RDWR)

    def ask(self, method: str, url: SplitResult, headers: dict[str, str], *, most: int, trusted: bool) -> Answer:
        """The answer with the first `most` bytes of its body. Only a `trusted` host may have an address that is not
        public. Refused, Silent."""
        where = url.netloc
        try:
            connection = http.client.HTTPConnection(url.hostname or "", url.port or PORTS[url.scheme])
            connection.sock = self._connect(url, trusted=trusted)
            with connection.sock:
                path = (url.path or "/") + (f"?{url.query}" if url.query else "")
                connection.request(method, path, headers=headers | {"Host": where, "User-Agent": "simyard"})
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read(most) if most else b"")
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"{where} has a certificate that is not trusted: {error.verify_message}",
                          "ask the operator for SSL_CERT_FILE with the authority that issued it") from error
        except ssl.SSLError as error:
            raise Refused(f"{where} does not speak TLS: {error.reason}",
                          "ask the operator for INSECURE_REGISTRIES if it speaks plain HTTP") from error
        except socket.gaierror as error:
            if error.errno not in _UNKNOWN_NAME:
                raise Silent(f"the address of {where} cannot be found: {error.strerror}") from error
            raise Refused(f"there is no host {where}", "correct the name of the registry") from error
        except OSError as error:
            raise Silent(f"{where} does not answer: {error}") from error
        except (http.client.HTTPException, ValueError) as error:  # a port or a name that is none, too
            raise Refused(f"{where} does not answer as a registry does: {type(error).__name__}",
                          "see that it is a registry, or state the image by its digest") from error
        finally:
            self._socket = None

    def _connect(self, url: SplitResult, *, trusted: bool) -> socket.socket:
        host, port = url.hostname or "", url.port or PORTS[url.scheme]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not trusted and not all(is_public(str(address[0])) for *_, address in found):
            raise Refused(f"{host} has an address that is not public",
                          "ask the operator to name the registry in ALLOWED_IMAGES if it is meant")
        # The addresses that were looked at, and not the name again, which may mean another one by then.
        plain = self._first([(str(address[0]), int(address[1])) for *_, address in found])
        if url.scheme == "http":
            return plain
        tls = ssl.create_default_context().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        self._socket = tls  # before it speaks, so that it can be cut
        try:
            tls.do_handshake()
        except OSError:
            tls.close()
            raise
        return tls

    def _first(self, addresses: list[tuple[str, int]]) -> socket.socket:
        failure: OSError = OSError("it has no address")
        for address in addresses:
            try:
                self._socket = socket.create_connection(address, self.left())
            except OSError as error:
                failure = error
            else:
                return self._socket
        raise failure


def is_public(text: str) -> bool:
    """Whether it is the address of somebody in the internet, in whatever way it is written."""
    address = ip_address(text.partition("%")[0])
    return all(each.is_global and not each.is_multicast and each not in _SITE_LOCAL for each in _meant(address))


def _meant(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The IPv4 addresses that an IPv6 address stands for, or else itself."""
    if isinstance(address, IPv4Address):
        return [address]
    if address in _TRANSLATED:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    within = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    return [each for each in within if each is not None] or [address]
