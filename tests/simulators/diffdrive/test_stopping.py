"""How a run ends before its time: a signal asked for ends it in order, a kill leaves what was committed."""

import json
import signal
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader

from simulators.diffdrive import parameters, simulation
from simulators.diffdrive.messages import TOPICS

from .runs import SHORT, WATCHED, database, messages, query, start, wait_for_messages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_the_run_well(tmp_path: Path, number: int) -> None:
    output = tmp_path / "run"
    process = start(output, WATCHED)
    before = wait_for_messages(process, output, 30)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out
    result = json.loads((output / "result.json").read_text())
    assert result["passed"] is False
    with AnyReader([output / "diffdrive"]) as reader:
        assert reader.message_count == len(messages(output)) >= before
    last = json.loads((output / "progress.jsonl").read_text().splitlines()[-1])
    assert last["sim_time"] == result["metrics"]["sim_time_s"] < 300
    assert last["percent"] < 100


def test_a_stop_before_the_first_tick_leaves_a_whole_recording(tmp_path: Path) -> None:
    result = simulation.run(parameters.parse(SHORT), 7, tmp_path, stopped=lambda: True)
    assert not result.passed
    with AnyReader([tmp_path / "diffdrive"]) as reader:
        assert [connection.topic for connection, _, _ in reader.messages()] == ["/tf_static", "/goal"]


def test_a_kill_leaves_what_was_committed(tmp_path: Path) -> None:
    output = tmp_path / "run"
    process = start(output, WATCHED)
    before = wait_for_messages(process, output, 100)
    process.kill()
    process.communicate()
    assert query(output, "PRAGMA integrity_check") == [("ok",)]
    assert len(messages(output)) >= before
    assert {name for (name,) in query(output, "SELECT name FROM topics")} == set(TOPICS)
    assert not (output / "diffdrive" / "metadata.yaml").exists()
    assert not (output / "result.json").exists()
    assert not list(output.glob("**/*-wal"))
    with AnyReader([database(output)]) as reader:
        decoded = [reader.deserialize(raw, connection.msgtype) for connection, _, raw in reader.messages()]
    assert len(decoded) >= before


def test_out_of_time_is_a_run_that_ended_well_and_did_not_pass(tmp_path: Path) -> None:
    result = simulation.run(parameters.parse({**SHORT, "duration": 1}), 7, tmp_path, stopped=lambda: False)
    assert not result.passed
    assert result.metrics["sim_time_s"] == 1
    assert (tmp_path / "diffdrive" / "metadata.yaml").exists()
    last = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[-1])
    assert last["percent"] == 100
