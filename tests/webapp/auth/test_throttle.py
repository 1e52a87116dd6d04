from collections.abc import Iterator

import pytest

from tests.webapp.web import API, PASSWORD, User, Web, problem
from webapp.auth.throttle import FREE_BY_ACCOUNT, network_of


@pytest.fixture(autouse=True)
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand times as long, so that none is over before a busy machine comes to the next try."""
    monkeypatch.setattr("webapp.auth.throttle.FIRST_WAIT_SECONDS", 1000)
    monkeypatch.setattr("webapp.auth.throttle.LONGEST_WAIT_SECONDS", 60_000)


@pytest.fixture(autouse=True)
def no_memory(web: Web) -> Iterator[None]:
    """Redis is shared by all tests, and tries are counted by address too."""
    forget(web)
    yield
    forget(web)


def forget(web: Web, pattern: str = "*") -> None:
    if found := web.connections.redis.keys(f"simyard:login:{pattern}"):
        web.connections.redis.delete(*found)


def login(web: Web, email: str, password: str, address: str = "192.0.2.1"):  # type: ignore[no-untyped-def]
    return web.app.test_client().post(f"{API}/auth/login", json={"email": email, "password": password},
                                      environ_base={"REMOTE_ADDR": address})


def guess(web: Web, email: str, times: int = FREE_BY_ACCOUNT, address: str = "192.0.2.1") -> None:
    for _ in range(times):
        problem(login(web, email, "wrong", address), 401, "bad_credentials")


def test_after_some_wrong_tries_the_next_has_to_wait(web: Web, viewer: User) -> None:
    guess(web, viewer.email)
    told = login(web, viewer.email, PASSWORD)
    body = problem(told, 429, "throttled")
    assert int(told.headers["Retry-After"]) == pytest.approx(1000, abs=100)
    assert body["retryable"] and body["remedy"]


def test_each_further_try_waits_twice_as_long_up_to_a_minute(web: Web, viewer: User) -> None:
    guess(web, viewer.email)
    waits = []
    for _ in range(8):
        forget(web, "*:wait")
        problem(login(web, viewer.email, "wrong"), 401, "bad_credentials")
        waits.append(int(login(web, viewer.email, "wrong").headers["Retry-After"]))
    assert waits == pytest.approx([2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000], abs=100)


def test_an_unknown_account_is_throttled_alike(web: Web) -> None:
    guess(web, "nobody@example.com")
    problem(login(web, "nobody@example.com", "wrong"), 429, "throttled")


def test_the_right_password_begins_the_count_anew(web: Web, viewer: User) -> None:
    for _ in range(3):
        guess(web, viewer.email, FREE_BY_ACCOUNT - 1)
        assert login(web, viewer.email, PASSWORD).status_code == 200


def test_strangers_who_guess_do_not_keep_an_acquaintance_waiting(web: Web, viewer: User) -> None:
    assert login(web, viewer.email, PASSWORD, "192.0.2.7").status_code == 200
    guess(web, viewer.email, address="198.51.100.9")
    problem(login(web, viewer.email, "wrong", "198.51.100.10"), 429, "throttled")
    assert login(web, viewer.email, PASSWORD, "192.0.2.7").status_code == 200


def test_one_address_that_tries_many_accounts_has_to_wait(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.auth.throttle.FREE_BY_ADDRESS", 8)
    for place in range(8):
        problem(login(web, f"u{place}@example.com", "wrong", "2001:db8::1"), 401, "bad_credentials")
    problem(login(web, "u9@example.com", "wrong", "2001:db8::2"), 429, "throttled")
    problem(login(web, "u9@example.com", "wrong", "2001:db8:0:1::2"), 401, "bad_credentials")


def test_who_guesses_at_an_address_does_not_keep_its_acquaintances_waiting(
        web: Web, viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.auth.throttle.FREE_BY_ADDRESS", 8)
    assert login(web, viewer.email, PASSWORD).status_code == 200
    for place in range(8):
        problem(login(web, f"u{place}@example.com", "wrong"), 401, "bad_credentials")
        assert login(web, viewer.email, PASSWORD).status_code == 200
    problem(login(web, "u9@example.com", "wrong"), 429, "throttled")
    assert login(web, viewer.email, PASSWORD).status_code == 200
    problem(login(web, "u9@example.com", "wrong"), 429, "throttled")


def test_the_right_password_makes_nobody_else_wait(web: Web, viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.auth.throttle.FREE_BY_ADDRESS", 3)
    for place in range(2):
        problem(login(web, f"u{place}@example.com", "wrong"), 401, "bad_credentials")
    assert login(web, viewer.email, PASSWORD).status_code == 200
    problem(login(web, "u3@example.com", "wrong"), 401, "bad_credentials")
    problem(login(web, "u4@example.com", "wrong"), 429, "throttled")


def test_an_acquaintance_who_guesses_has_to_wait(web: Web, viewer: User) -> None:
    assert login(web, viewer.email, PASSWORD).status_code == 200
    guess(web, viewer.email)
    problem(login(web, viewer.email, PASSWORD), 429, "throttled")


def test_a_forwarded_address_is_believed_of_our_proxies_alone(web: Web, viewer: User) -> None:
    for place in range(FREE_BY_ACCOUNT):
        response = web.app.test_client().post(
            f"{API}/auth/login", json={"email": viewer.email, "password": "wrong"},
            headers={"X-Forwarded-For": f"203.0.113.{place}"}, environ_base={"REMOTE_ADDR": "192.0.2.1"})
        problem(response, 401, "bad_credentials")
    assert web.connections.redis.keys("simyard:login:address:192.0.2.1:*")
    assert not web.connections.redis.keys("simyard:login:address:203*")


@pytest.mark.parametrize(("address", "network"), [
    ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8:0:1::9", "2001:db8:0:1::/64"),
    ("unix", "unix"), ("::ffff:192.0.2.1", "192.0.2.1")])
def test_what_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
