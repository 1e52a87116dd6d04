"""How one knows that our own processes are ready. Each probe returns when so, and raises NotReady while not."""

import http.client

import redis

from standalone.failures import NotReady, one_line
from standalone.ports import HOST


def answers(port: int, path: str) -> None:
    """HTTP 200 at this path of this port."""
    connection = http.client.HTTPConnection(HOST, port, timeout=3)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(one_line(error)) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise NotReady(f"{path} answers {answer.status} {one_line(said)}")


def workers_listen(redis_url: str, count: int) -> None:
    """At least so many Celery workers take tasks from this broker.

    Seen from the broker: what a client did last is BRPOP. Asking the workers themselves would take seconds of CPU.
    """
    with redis.Redis.from_url(redis_url, socket_connect_timeout=3, socket_timeout=3, retry=None) as client:
        try:
            listening = sum(each["cmd"] == "brpop" for each in client.client_list())
        except redis.exceptions.NoPermissionError:
            return  # a server of somebody else's that does not let us look
        except redis.RedisError as error:
            raise NotReady(one_line(error)) from error
    if listening < count:
        raise NotReady(f"{listening} of {count} workers take tasks")
