"""The main job as a user sees it: a sweep of the reference robot, its verdicts, and its recordings in other hands."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from rosbags.highlevel import AnyReader

from tests.stack import Stack
from tests.waiting import until

SWEEP = {"parameters": {"max_speed": {"grid": [0.5, 0.8]}, "obstacles": 3}, "seed": 11}


@pytest.fixture(scope="module")
def instances(stack: Stack) -> list[dict[str, Any]]:
    return stack.ended(stack.submit("diffdrive", **SWEEP))


def download(stack: Stack, bundle: dict[str, Any], folder: Path) -> None:
    """Every file of a bundle by its presigned URL, without any of our credentials."""
    for file in bundle["files"]:
        answer = stack.http.get(f"/bundles/{bundle['id']}/files/{file['name']}")
        assert answer.status_code == 302
        content = httpx.get(answer.headers["location"]).content
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert len(content) == file["size"]
        (folder / file["name"]).write_bytes(content)


def test_every_instance_succeeds_and_passes(instances: list[dict[str, Any]]) -> None:
    assert [(instance["state"], instance["passed"]) for instance in instances] == [("SUCCEEDED", True)] * 2
    assert [instance["parameters"]["max_speed"] for instance in instances] == [0.5, 0.8]
    assert all(instance["metrics"]["path_length_m"] > 1 for instance in instances)


def test_a_downloaded_bundle_opens_in_a_third_partys_reader(
        stack: Stack, instances: list[dict[str, Any]], tmp_path: Path) -> None:
    bundle = stack.get(f"/bundles/{instances[0]['bundles'][0]}")
    download(stack, bundle, tmp_path)
    with AnyReader([tmp_path]) as reader:
        assert {topic["name"]: topic["count"] for topic in bundle["topics"]} == {
            name: topic.msgcount for name, topic in reader.topics.items()}
        for connection, _, raw in reader.messages():
            reader.deserialize(raw, connection.msgtype)
        assert bundle["messages"] == reader.message_count


def test_the_facts_say_what_is_in_it(stack: Stack, instances: list[dict[str, Any]]) -> None:
    bundle = stack.get(f"/bundles/{instances[0]['bundles'][0]}")
    assert (bundle["state"], bundle["storage"], bundle["problems"]) == ("READY", "sqlite3", [])
    assert {topic["name"] for topic in bundle["topics"]} >= {
        "/clock", "/odom", "/scan", "/imu/data", "/cmd_vel", "/tf", "/tf_static", "/goal"}
    assert all(topic["decodable"] for topic in bundle["topics"])


def test_the_same_submission_gives_the_same_recording_held_once(
        stack: Stack, instances: list[dict[str, Any]]) -> None:
    again = stack.ended(stack.submit("diffdrive", **SWEEP))
    first, second = (stack.get(f"/bundles/{run[0]['bundles'][0]}") for run in (instances, again))
    assert first["digest"] == second["digest"]
    locations = {stack.http.get(f"/bundles/{bundle['id']}/files/{file['name']}").headers["location"].split("?")[0]
                 for bundle in (first, second) for file in bundle["files"]}
    assert len(locations) == len(first["files"])


def test_a_robot_that_is_killed_in_the_middle_leaves_a_recording(stack: Stack) -> None:
    simulation = stack.submit("diffdrive", parameters={"realtime_factor": 4}, seed=1)
    until(lambda: ((stack.instances(simulation)[0]["progress"] or {}).get("sim_time") or 0) > 4)
    stack.post(f"/simulations/{simulation}/cancel", status=202)
    (instance,) = stack.ended(simulation)
    assert instance["state"] == "CANCELLED"
    bundle = stack.get(f"/bundles/{instance['bundles'][0]}")
    assert (bundle["state"], bundle["messages"] > 100) == ("READY", True)


def test_events_tell_the_whole_life_of_a_sweep_without_gap(stack: Stack) -> None:
    simulation = stack.submit(stack.template("/bin/true"), repeats=5)
    seen: list[tuple[str, str | None]] = []
    with stack.http.stream("GET", f"/simulations/{simulation}/events") as stream:
        name = number = None
        for line in stream.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "id":
                number = value
            elif not line and name:
                seen.append((name, number))
                name = number = None
    assert seen[0][0] == "reset"
    assert seen[-1][0] == "end"
    start = int(seen[0][1] or 0)
    numbers = [int(number) for name, number in seen if name in ("transition", "simulation") and number is not None]
    assert numbers == sorted(set(numbers))
    told = {step["number"] for instance in stack.instances(simulation) for step in instance["transitions"]}
    assert {number for number in told if number > start} <= set(numbers)
    assert stack.get(f"/simulations/{simulation}/status")["counts"]["SUCCEEDED"] == 5
