"""`simyard up` as a process, with real servers: what it says, what it keeps running, and that nothing is left of it."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standalone.running import Running, flat, is_alive, is_deserted, running
from tests.standalone.test_ports import listener
from tests.waiting import until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("up") / "data", "--port", "0", "--workers", "2") as stack:
        stack.facts()
        yield stack


def test_it_prints_one_line_and_says_everything_else_elsewhere(stack: Running) -> None:
    facts = stack.facts()
    assert stack.said.count("\n") == 1
    assert set(facts) == {"url", "flower", "database_url", "redis_url", "s3", "admin", "pids"}
    assert set(facts["s3"]) == {"endpoint", "access_key", "secret_key", "bucket"}
    assert set(facts["pids"]) == {"web", "workers", "watchers", "flower", "postgres", "redis", "s3"}
    assert len(facts["pids"]["workers"]) == 2
    assert all(is_alive(pid) for pid in flat(facts["pids"]))
    assert f"Simyard  {facts['url']}" in stack.complaint
    assert facts["admin"]["password"] not in stack.complaint


def test_web_is_where_it_says(stack: Running) -> None:
    facts = stack.facts()
    assert urllib.request.urlopen(facts["url"] + "/health/ready", timeout=30).status == 200
    assert json.loads((stack.data / "endpoints.json").read_text()) == {"web": facts["url"]}


def test_the_command_line_knows_where_it_is_and_who_to_be(stack: Running) -> None:
    profile = stack.data.parent / ".config/simyard/profile.json"
    assert profile.stat().st_mode & 0o777 == 0o600
    known = json.loads(profile.read_text())
    assert known == {"url": stack.facts()["url"], "admin": str(stack.data / "admin.json")}
    assert Path(known["admin"]).stat().st_mode & 0o777 == 0o600
    assert json.loads(Path(known["admin"]).read_text()) == stack.facts()["admin"]


def test_a_second_one_on_the_same_folder_is_refused_in_one_line(stack: Running) -> None:
    second = Running(stack.data, environment={"HOME": str(stack.data.parent)}, name="second")
    assert second.process.wait(60) == 1
    assert second.said == ""
    assert second.complaint == (f"simyard: {stack.data}: a stack runs on this folder already "
                                f"(process {stack.process.pid}); stop it, or choose another --data\n")


@pytest.mark.parametrize("name", ["web", "workers", "watchers", "flower", "postgres", "redis", "s3"])
def test_what_is_killed_is_started_again(stack: Running, name: str) -> None:
    before = stack.pids()
    [victim, *_] = flat({name: before[name]})
    os.kill(victim, signal.SIGKILL)
    after = until(lambda: victim not in flat(now := stack.pids()) and now)
    assert {other: before[other] for other in before if other != name} == {
        other: after[other] for other in after if other != name}, stack.complaint
    assert all(is_alive(pid) for pid in flat(after)), stack.complaint


def test_it_ends_with_everything_it_started(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--watchers", "2", environment={"FAKE_WATCHER": "deaf_watcher"}) as stack:
        pids = flat(stack.facts()["pids"])
        assert stack.end(signal.SIGINT) == 0
    assert not any(is_alive(pid) for pid in pids)
    assert is_deserted(stack.data)
    assert (stack.data / "logs/drain.log").read_text() == "drained\n"
    assert not (stack.data / "pids.json").exists()
    assert "watcher1 did not end when asked and is killed" in stack.complaint


def test_after_it_was_killed_nothing_is_left_but_programs_and_it_can_be_started_at_once(tmp_path: Path) -> None:
    program = tmp_path / "program"
    environment = {"FAKE_WORKER": f"worker {program}"}
    with running(tmp_path / "data", environment=environment) as stack:
        before = stack.facts()
        assert stack.end(signal.SIGKILL) == -signal.SIGKILL
        with running(tmp_path / "data", environment=environment) as again:
            after = again.facts()
            try:
                assert not any(is_alive(pid) for pid in flat(before["pids"]))
                assert is_alive(int(program.read_text()))
            finally:
                os.kill(int(program.read_text()), signal.SIGKILL)
        assert {**before, "pids": None} == {**after, "pids": None}


def test_a_stop_during_the_start_is_heeded(tmp_path: Path) -> None:
    with running(tmp_path / "data") as stack:
        until((stack.data / "logs/s3.log").exists)
        assert stack.end() == 0
    assert is_deserted(stack.data)
    assert stack.said == ""


def test_a_port_that_is_taken_is_replaced_and_the_endpoints_say_so(tmp_path: Path) -> None:
    with listener(0) as taken:
        port = taken.getsockname()[1]
        with running(tmp_path / "data", "--port", str(port)) as stack:
            url = stack.facts()["url"]
            assert int(url.rsplit(":", 1)[1]) > port
            assert json.loads((stack.data / "endpoints.json").read_text()) == {"web": url}
            assert f"simyard: port {port} is taken, so web has" in stack.complaint
