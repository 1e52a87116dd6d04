"""The worker's entry, in a process of its own as workers have it."""

import json
import os
import subprocess
import sys

import pytest

from tests.architecture.test_house import SETTINGS

SCRIPT = """
import logging
from workers import launching, tasks
from workers.app import _configure_logs, app

_configure_logs()
tasks.doors = lambda: None

def launch(doors, job):
    logging.getLogger("at work").info("on it")
    if job.int == 2:
        raise ValueError("broken")

launching.launch = launch
for number in (1, 2):
    app.tasks["simyard.launch"].apply(args=[f"00000000-0000-0000-0000-00000000000{number}"], task_id=f"task-{number}")
logging.getLogger("after").info("idle")
"""


def test_every_line_of_a_task_has_its_ids_that_of_its_failure_too() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], env=os.environ | SETTINGS, text=True,
                          capture_output=True, check=True, timeout=100)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["at work", "at work", "celery.app.trace", "after"]
    for line, number in zip(lines, (1, 2, 2), strict=False):
        assert (line["task"], line["task_id"]) == ("simyard.launch", f"task-{number}")
        assert line["job"] == f"00000000-0000-0000-0000-00000000000{number}"
    assert not {"task", "task_id", "job"} & set(lines[-1])


@pytest.mark.parametrize(("runtime", "there"), [("kubernetes", "True"), ("local", "False")])
def test_the_client_of_a_cluster_is_loaded_before_children_are_forked_off_and_only_then(
        runtime: str, there: str) -> None:
    script = ("import sys; from celery import signals; from workers.app import app; "
              "signals.worker_init.send(None); print('kubernetes.client' in sys.modules)")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], text=True, capture_output=True, check=True, timeout=100,
        env=os.environ | SETTINGS | {"RUNTIME": runtime, "RECORDER_IMAGE": "worker:1"})
    assert done.stdout.strip() == there
