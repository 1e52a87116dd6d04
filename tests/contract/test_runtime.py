"""What every runtime promises: one suite over the fake, the local one, and that of a cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.domain.specs import Program
from tests.contract.sites import PROGRAM_IMAGE, ClusterSite, given_site, own_site
from tests.fakes import FakeRuntime, FakeWeb
from tests.waiting import until
from workers.runtimes.base import Name, Recorder, Run, Runtime, Seen
from workers.runtimes.local import LocalRuntime


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSite]:
    """The cluster that SIMYARD_TEST_KUBECONFIG names, or one of our own."""
    given = os.environ.get("SIMYARD_TEST_KUBECONFIG")
    with given_site(Path(given)) if given else own_site(tmp_path_factory.mktemp("cluster")) as site:
        yield site


@pytest.fixture(params=["fake", "local", "kubernetes"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    if request.param == "fake":
        yield FakeRuntime()
        return
    if request.param == "kubernetes":
        runtime = request.getfixturevalue("site").runtime()
        yield runtime
        runtime.close()
        return
    with FakeWeb() as web:
        local = LocalRuntime(tmp_path, {"url": web.url}, {"PATH": "/usr/bin:/bin"})
        yield local
        clear(local)


def clear(runtime: LocalRuntime) -> None:
    """Leave no process behind, not even a shim that is about to end by itself."""
    for name in runtime.names():
        runtime.remove(name)
    for shim in runtime._children:
        shim.wait(60)


def run(*command: str) -> Run:
    return Run(Name(uuid4(), 1), "instance", Program(command=command, image=PROGRAM_IMAGE), {}, 1, "token")


def go_again(runtime: Runtime, new: Run) -> None:
    """Another start of what there is: nothing comes of it."""
    launch = runtime.start(new)
    if launch is not None:
        launch.go()


def started(runtime: Runtime, *command: str) -> Name:
    new = run(*command)
    launch = runtime.start(new)
    assert launch is not None
    launch.go()
    return new.name


def test_a_program_waits_for_its_go(runtime: Runtime) -> None:
    new = run("/bin/sleep", "60")
    launch = runtime.start(new)
    assert launch is not None
    assert runtime.observe(new.name).seen in (Seen.STARTING, Seen.ABSENT)
    launch.go()
    until(lambda: runtime.observe(new.name).seen == Seen.RUNNING)


def test_the_exit_code_is_kept(runtime: Runtime) -> None:
    name = started(runtime, "/bin/sh", "-c", "exit 3")
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).exit_code == 3


def test_the_recorder_is_seen_to_be_done(runtime: Runtime) -> None:
    name = started(runtime, "/bin/sh", "-c", "exit 0")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)


def test_starting_twice_finds_it_there(runtime: Runtime) -> None:
    new = run("/bin/sleep", "60")
    launch = runtime.start(new)
    assert launch is not None
    go_again(runtime, new)
    launch.go()
    until(lambda: runtime.observe(new.name).seen == Seen.RUNNING)
    go_again(runtime, new)
    assert runtime.observe(new.name).seen == Seen.RUNNING


def test_what_has_ended_is_not_started_again(runtime: Runtime) -> None:
    new = run("/bin/sh", "-c", "exit 0")
    launch = runtime.start(new)
    assert launch is not None
    launch.go()
    until(lambda: runtime.observe(new.name).recorder == Recorder.DONE)
    go_again(runtime, new)
    assert runtime.observe(new.name).seen == Seen.ENDED


def test_what_was_abandoned_never_ran_and_may_be_started(runtime: Runtime) -> None:
    new = run("/bin/sh", "-c", "exit 0")
    launch = runtime.start(new)
    assert launch is not None
    launch.abandon()
    seen = until(lambda: (seen := runtime.observe(new.name)).never_started and seen)
    assert seen.seen == Seen.ABSENT
    launch = runtime.start(new)
    assert launch is not None
    launch.go()
    until(lambda: runtime.observe(new.name).seen == Seen.ENDED)


def test_stop_signals_the_program(runtime: Runtime) -> None:
    name = started(runtime, "/bin/sleep", "60")
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    until(lambda: runtime.stop(name, signal.SIGINT))  # the one that its program asks for
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
    assert runtime.observe(name).exit_code == 128 + signal.SIGINT


def test_kill_leaves_nothing_running(runtime: Runtime) -> None:
    name = started(runtime, "/bin/sleep", "60")
    until(lambda: runtime.observe(name).seen == Seen.RUNNING)
    runtime.kill(name)
    until(lambda: runtime.observe(name).seen in (Seen.ABSENT, Seen.ENDED))


def test_what_does_not_exist_is_absent_and_can_be_stopped_killed_and_removed(runtime: Runtime) -> None:
    name = Name(uuid4(), 1)
    runtime.stop(name, signal.SIGINT)
    runtime.kill(name)
    runtime.remove(name)
    assert runtime.observe(name).seen == Seen.ABSENT
    assert not runtime.salvage(Run(name, "instance", Program(command=("x",)), {}, 1, "token"))


def test_names_are_those_of_what_is_there(runtime: Runtime) -> None:
    name = started(runtime, "/bin/sh", "-c", "exit 0")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    assert list(runtime.names()) == [name]
    runtime.remove(name)
    until(lambda: list(runtime.names()) == [])  # once its node has let it go


def test_what_is_quarantined_is_out_of_sight(runtime: Runtime) -> None:
    name = started(runtime, "/bin/sh", "-c", "exit 0")
    until(lambda: runtime.observe(name).recorder == Recorder.DONE)
    runtime.quarantine(name)
    assert list(runtime.names()) == []


def test_a_start_and_an_end_are_hinted(runtime: Runtime) -> None:
    runtime.hints(0)
    name = started(runtime, "/bin/sh", "-c", "exit 0")
    until(lambda: name in runtime.hints(0.1))
    until(lambda: runtime.observe(name).seen == Seen.ENDED)
