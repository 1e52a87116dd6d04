"""Every reason that a program of this machine can meet, produced for real on a running stack."""

import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.stack import Stack, frozen
from tests.waiting import until
from workers.runtimes import processes

ONCE = {"max_attempts": 1}


def test_a_program_that_ends_well_has_succeeded(stack: Stack) -> None:
    instance = stack.run("/bin/sh", "-c", "echo done well")
    assert (instance["state"], instance["reason"], instance["exit_code"]) == ("SUCCEEDED", None, 0)
    assert instance["log_tail"] == "done well\n"
    assert [step["to"] for step in instance["transitions"]][-1] == "SUCCEEDED"


def test_a_crash_keeps_its_exit_code_and_its_last_words(stack: Stack) -> None:
    instance = stack.run("/bin/sh", "-c", "echo about to fail; exit 42")
    assert (instance["state"], instance["reason"], instance["exit_code"]) == ("FAILED", "crashed", 42)
    assert instance["message"] == "it exited with code 42"
    assert instance["log_tail"] == "about to fail\n"


def test_a_crash_within_the_first_millisecond(stack: Stack) -> None:
    instance = stack.run("/bin/false")
    assert (instance["reason"], instance["exit_code"]) == ("crashed", 1)
    assert "COLLECTING" in [step["to"] for step in instance["transitions"]]


def test_a_program_that_does_not_exist(stack: Stack) -> None:
    instance = stack.run("/no/such/program")
    assert (instance["reason"], instance["exit_code"]) == ("crashed", 127)
    assert "/no/such/program" in instance["log_tail"]


def test_a_crash_by_signal_says_which(stack: Stack) -> None:
    instance = stack.run("/bin/sh", "-c", "kill -SEGV $$")
    assert (instance["reason"], instance["exit_code"]) == ("crashed", 139)
    assert instance["message"] == "it was ended by signal 11"


def test_the_queue_limit(stack: Stack) -> None:
    template = stack.template("/bin/sleep", "4", limits={"queue_seconds": 1})
    first, second = stack.ended(stack.submit(template, repeats=2, max_parallel=1))
    assert first["state"] == "SUCCEEDED"
    assert (second["state"], second["reason"]) == ("FAILED", "queue_timeout")


def test_the_start_limit(stack: Stack) -> None:
    template = stack.template("/bin/true", limits={"start_seconds": 1})
    children = [pid for worker in stack.pids()["workers"] for pid in [worker, *children_of(worker)]]
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    try:
        (instance,) = stack.ended(stack.submit(template))
    finally:
        for pid in children:
            os.kill(pid, signal.SIGCONT)
    assert (instance["state"], instance["reason"]) == ("FAILED", "start_timeout")


def test_the_run_limit(stack: Stack) -> None:
    instance = stack.run("/bin/sleep", "60", limits={"run_seconds": 1})
    assert (instance["state"], instance["reason"], instance["exit_code"]) == ("FAILED", "run_timeout", 130)
    assert "STOPPING" in [step["to"] for step in instance["transitions"]]


def test_the_stall_limit(stack: Stack) -> None:
    instance = stack.run("/bin/sleep", "60", limits={"stall_seconds": 1})
    assert (instance["state"], instance["reason"]) == ("FAILED", "stalled")


def test_a_program_deaf_to_its_stop_signal_is_killed(stack: Stack) -> None:
    source = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    instance = stack.run(sys.executable, "-c", source, limits={"run_seconds": 1}, stop={"grace_seconds": 1})
    assert (instance["reason"], instance["exit_code"]) == ("run_timeout", 137)


def test_a_recorder_that_never_ends_by_itself_succeeds(stack: Stack) -> None:
    source = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('stopped')"
    instance = stack.run(sys.executable, "-c", source, stop={"after_seconds": 1.5})
    assert (instance["state"], instance["reason"]) == ("SUCCEEDED", None)


def test_the_memory_limit(stack: Stack) -> None:
    source = "block = b'x' * (200 << 20); import time; time.sleep(60)"
    instance = stack.run(sys.executable, "-c", source, resources={"memory_mb": 64})
    assert (instance["state"], instance["reason"]) == ("FAILED", "oom_killed")


def test_the_disk_limit(stack: Stack) -> None:
    instance = stack.run("/bin/sh", "-c", "head -c 40000000 /dev/zero >output/big; sleep 60",
                         resources={"disk_mb": 10})
    assert (instance["state"], instance["reason"]) == ("FAILED", "disk_full")


def test_killed_with_its_shim_it_has_vanished(stack: Stack) -> None:
    simulation = stack.submit(stack.template("/bin/sh", "-c", "echo here; sleep 60", retry=ONCE))
    kill_everything_of(stack, simulation)
    (instance,) = stack.ended(simulation)
    assert (instance["state"], instance["reason"]) == ("FAILED", "vanished")
    assert instance["log_tail"] == "here\n"


def test_what_vanished_is_tried_again(stack: Stack) -> None:
    script = "if [ $SIMYARD_ATTEMPT = 1 ]; then echo here; sleep 60; fi"
    simulation = stack.submit(stack.template("/bin/sh", "-c", script))
    kill_everything_of(stack, simulation)
    (instance,) = stack.ended(simulation)
    assert (instance["state"], instance["attempt"]) == ("SUCCEEDED", 2)


def test_success_without_the_required_recording(stack: Stack) -> None:
    instance = stack.run("/bin/true", record={"required": True})
    assert (instance["state"], instance["reason"]) == ("FAILED", "no_recording")


def test_the_verdict_and_metrics_are_the_simulators_own(stack: Stack) -> None:
    verdict = '{"passed": false, "metrics": {"length": 2.5}}'
    instance = stack.run("/bin/sh", "-c", f"echo '{verdict}' >output/result.json")
    assert (instance["state"], instance["passed"], instance["metrics"]) == ("SUCCEEDED", False, {"length": 2.5})


def test_progress_is_told_while_it_runs(stack: Stack) -> None:
    script = """echo '{"percent": 40, "sim_time": 1.5, "message": "halfway"}' >output/progress.jsonl; sleep 60"""
    simulation = stack.submit(stack.template("/bin/sh", "-c", script))
    until(lambda: stack.instances(simulation)[0]["progress"] == {
        "percent": 40, "sim_time": 1.5, "message": "halfway"})
    stack.post(f"/simulations/{simulation}/cancel", status=202)
    (instance,) = stack.ended(simulation)
    assert instance["state"] == "CANCELLED"


def test_progress_of_many_keeps_them_all_from_stalling(stack: Stack) -> None:
    script = """for n in 1 2 3 4 5 6 7 8 9 10; do echo "{\\"percent\\": $n}" >>output/progress.jsonl; sleep 0.5; done"""
    simulation = stack.submit(stack.template("/bin/sh", "-c", script, limits={"stall_seconds": 3}), repeats=3)
    until(lambda: all((instance["progress"] or {}).get("percent") for instance in stack.instances(simulation)))
    assert {instance["state"] for instance in stack.ended(simulation)} == {"SUCCEEDED"}


# -- cancel in every state -------------------------------------------------------------------------------------------


def test_cancel_while_queued(stack: Stack) -> None:
    simulation = stack.submit(stack.template("/bin/sleep", "2"), repeats=2, max_parallel=1)
    second = stack.instances(simulation)[1]
    assert stack.post(f"/instances/{second['id']}/cancel", status=202)["state"] == "CANCELLED"
    first, second = stack.ended(simulation)
    assert (first["state"], second["state"], second["reason"]) == ("SUCCEEDED", "CANCELLED", "cancelled_by_user")


def test_cancel_while_running_and_again_while_stopping(stack: Stack) -> None:
    source = "import signal, time\nsignal.signal(signal.SIGINT, lambda *_: None)\nprint('up', flush=True)\n" + (
        "for _ in range(600): time.sleep(0.1)")
    simulation = stack.submit(stack.template(sys.executable, "-c", source, stop={"grace_seconds": 2}))
    running = stack.first(simulation, "RUNNING")
    for _ in range(2):
        assert stack.post(f"/instances/{running['id']}/cancel", status=202)["state"] == "STOPPING"
    (instance,) = stack.ended(simulation)
    assert (instance["state"], instance["reason"], instance["exit_code"]) == ("CANCELLED", "cancelled_by_user", 137)
    assert stack.post(f"/instances/{running['id']}/cancel", status=202)["state"] == "CANCELLED"


def test_cancel_while_collecting_lets_the_outcome_stand(stack: Stack) -> None:
    template = stack.template("/bin/sh", "-c", "echo kept >output/notes.txt; exit 3")
    with frozen(stack.pids()["s3"]):
        simulation = stack.submit(template)
        collecting = stack.first(simulation, "COLLECTING")
        assert stack.post(f"/instances/{collecting['id']}/cancel", status=202)["state"] == "COLLECTING"
    (instance,) = stack.ended(simulation)
    assert (instance["state"], instance["reason"]) == ("FAILED", "crashed")


def test_cancel_of_what_has_ended_is_a_conflict(stack: Stack) -> None:
    instance = stack.run("/bin/true")
    assert stack.post(f"/instances/{instance['id']}/cancel", status=409)["code"] == "illegal_transition"


# -- object storage down ---------------------------------------------------------------------------------------------


def test_object_storage_down_while_collecting_costs_only_time(stack: Stack) -> None:
    template = stack.template("/bin/sh", "-c", "echo kept >output/notes.txt")
    os.kill(stack.pids()["s3"], signal.SIGKILL)
    (instance,) = stack.ended(stack.submit(template))
    assert instance["state"] == "SUCCEEDED"


def test_object_storage_down_for_too_long_is_upload_failed_and_keeps_the_folder(stack: Stack) -> None:
    template = stack.template("/bin/sh", "-c", "echo kept >output/notes.txt", limits={"collect_seconds": 2},
                              retry=ONCE)
    with frozen(stack.pids()["s3"]):
        (instance,) = stack.ended(stack.submit(template))
    assert (instance["state"], instance["reason"]) == ("FAILED", "upload_failed")
    assert (folder_of(stack, instance["id"]) / "output" / "notes.txt").read_text() == "kept\n"


# -- what tests reach for --------------------------------------------------------------------------------------------


def folder_of(stack: Stack, instance: str, attempt: int = 1) -> Path:
    return stack.data / "work" / "attempts" / f"sim-{instance.replace('-', '')}-a{attempt}"


def kill_everything_of(stack: Stack, simulation: str) -> None:
    """SIGKILL the program of the first instance, its shim and its recorder, once it has spoken."""
    instance = stack.first(simulation, "RUNNING")
    control = folder_of(stack, instance["id"]) / ".simyard"
    until(lambda: (control / "log").exists() and (control / "log").read_text() == "here\n")
    marks = frozenset({f"SIMYARD_JOB_ID={instance['id']}".encode(), b"SIMYARD_ATTEMPT=1"})
    found = processes.carrying(os.fsencode(control), marks)
    assert len(found) >= 3
    processes.kill(found)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(autouse=True)
def nothing_runs_on(stack: Stack) -> None:
    """Each test begins with every slot free."""
    until(lambda: not [item for state in ("STARTING", "RUNNING", "STOPPING", "COLLECTING")
                       for item in stack.get("/instances", state=state)["items"]])


# -- logs ------------------------------------------------------------------------------------------------------------


def test_a_log_of_megabytes_and_of_any_bytes_is_told_and_kept_whole(stack: Stack) -> None:
    source = ("import sys, time\nfor n in range(20):\n    sys.stdout.buffer.write(bytes(range(256)) * 400)\n"
              "    sys.stdout.flush()\n    time.sleep(0.1)\nprint('last')")
    instance = stack.run(sys.executable, "-c", source)
    assert instance["state"] == "SUCCEEDED"
    assert instance["log_tail"].endswith("last\n")
    logs = f"/instances/{instance['id']}/logs"
    answer = stack.http.get(logs)
    assert answer.status_code == 302
    whole = httpx.get(answer.headers["location"]).content
    assert whole == bytes(range(256)) * 8000 + b"last\n"
    assert stack.http.get(logs, params={"tail": 1}).text.endswith("last\n")
