"""Slows down guessing of passwords, by account and by address. Called by the login view.

Nobody is locked out: past some free tries each further one has to wait, twice as long every time, up to a minute. Who
has logged in from an address before is counted apart there, so that strangers who guess do not keep him waiting, not
even from the same address."""

import hashlib
import ipaddress
from datetime import timedelta

import redis

from webapp.auth.tokens import translate_errors
from webapp.problems import Throttled

FREE_BY_ACCOUNT = 5
FREE_BY_ADDRESS = 50
FIRST_WAIT_SECONDS = 1
LONGEST_WAIT_SECONDS = 60
MEMORY = timedelta(minutes=15)
ACQUAINTANCE = timedelta(days=30)

# KEYS: counter and wait, of the account and perhaps of the address. ARGV: free tries of each; longest wait, memory and
# first wait in seconds. Counts a try, or answers how many ms it has to wait. Counted before the password is looked at,
# for many come at once.
_TRY = """
for i = 1, #KEYS / 2 do
    local wait = redis.call('PTTL', KEYS[2 * i])
    if wait > 0 then return wait end
end
for i = 1, #KEYS / 2 do
    local tries = redis.call('INCR', KEYS[2 * i - 1])
    redis.call('EXPIRE', KEYS[2 * i - 1], ARGV[4])
    local over = tries - tonumber(ARGV[i])
    if over >= 0 then
        redis.call('SET', KEYS[2 * i], 1, 'EX', math.min(ARGV[5] * 2 ^ math.min(over, 30), tonumber(ARGV[3])))
    end
end
return 0
"""


class Throttle:
    """Counts tries in Redis; without it nobody can log in anyway."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._try = client.register_script(_TRY)

    def begin(self, email: str, address: str) -> None:
        """Count a try to log in. Throttled when it comes too soon."""
        with translate_errors():
            wait = self._try(keys=[key for who in self._counted(email, address) for key in _keys(who)],
                             args=[FREE_BY_ACCOUNT, FREE_BY_ADDRESS, LONGEST_WAIT_SECONDS,
                                   int(MEMORY.total_seconds()), FIRST_WAIT_SECONDS])
        if wait:
            seconds = -(-int(wait) // 1000)
            raise Throttled(f"too many tries to log in; the next one may be made in {seconds} s", seconds)

    def succeed(self, email: str, address: str) -> None:
        """The try was the right one: it counts no more, and the two are acquainted."""
        with translate_errors():
            account, *addresses = self._counted(email, address)
            pipeline = self._redis.pipeline()
            pipeline.delete(*_keys(account))
            for tries, wait in map(_keys, addresses):
                pipeline.decr(tries)
                pipeline.expire(tries, MEMORY)
                pipeline.delete(wait)  # this try's own, for with another it could not have begun
            pipeline.set(_acquainted(email, address), 1, ex=ACQUAINTANCE)
            pipeline.execute()

    def _counted(self, email: str, address: str) -> list[str]:
        """Where a try counts: with the account and with the address; if acquainted with the two together alone."""
        if self._redis.exists(_acquainted(email, address)):
            return [f"account:{_hash(email)}:{_hash(network_of(address))}"]
        return [f"account:{_hash(email)}", f"address:{network_of(address)}"]


def network_of(address: str) -> str:
    """What counts as one address: an IPv6 customer has a whole /64. An IPv4 one stays himself on a socket of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def _keys(who: str) -> tuple[str, str]:
    return f"simyard:login:{who}:tries", f"simyard:login:{who}:wait"


def _acquainted(email: str, address: str) -> str:
    return f"simyard:login:acquainted:{_hash(email)}:{_hash(network_of(address))}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
