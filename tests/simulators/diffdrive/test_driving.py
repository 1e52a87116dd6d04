"""The robot reaches its goals without hitting anything, whatever the sweep; and what it tells of a run adds up."""

import json
from pathlib import Path

import numpy as np
import pytest

from simulators.diffdrive.grid import Grid
from simulators.diffdrive.planner import KEEP_OUT, NoWay, plan
from simulators.diffdrive.world import LAYOUTS, Box, build

from .runs import drive

SWEEP = [
    {"world": world, "max_speed": speed, "obstacles": obstacles, "friction": friction, "noise": noise}
    for world in LAYOUTS
    for speed, obstacles, friction, noise in [(0.4, 8, 0.5, 1), (0.8, 2, 1.0, 1), (1.2, 12, 0.1, 3), (0.6, 5, 0.8, 0)]
]


@pytest.mark.parametrize("seed", range(len(SWEEP)))
def test_a_sweep_passes(tmp_path: Path, seed: int) -> None:
    result = drive(tmp_path / "run", seed, **SWEEP[seed], goals=2)
    assert result.passed, result


def test_the_figures_of_a_run_add_up(tmp_path: Path) -> None:
    metrics = drive(tmp_path / "run", goals=3, max_speed=0.5).metrics
    saved = json.loads((tmp_path / "run" / "result.json").read_text())
    assert saved == {"passed": True, "metrics": metrics}
    assert (metrics["goals_reached"], metrics["collisions"]) == (3, 0)
    assert 3 * 3 - 1 < metrics["path_length_m"] <= 0.5 * metrics["sim_time_s"]
    assert 0 < metrics["closest_obstacle_m"] < 5
    assert 0 < metrics["odometry_error_m"] < 2
    assert all(isinstance(value, int | float) for value in metrics.values())


def test_progress_only_grows(tmp_path: Path) -> None:
    drive(tmp_path / "run", goals=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "progress.jsonl").read_text().splitlines()]
    assert all(set(line) == {"percent", "sim_time", "message"} for line in lines)
    assert [line["percent"] for line in lines] == sorted(line["percent"] for line in lines)
    assert (lines[0]["percent"], lines[-1]["percent"]) == (0, 100)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_world_holds_the_most_that_may_be_asked_for(name: str) -> None:
    for seed in range(5):
        world, grid = build(name, 12, 10, np.random.default_rng(seed))
        assert (len(world.obstacles), len(world.goals)) == (12, 10)
        way = plan(grid, np.array(world.start[:2]), np.array(world.goals[0]))
        assert grid.clearance_at(way).min() >= KEEP_OUT
        assert np.hypot(*np.diff(way, axis=0).T).max() < 0.06


def test_no_way_through_a_wall() -> None:
    grid = Grid((4.0, 4.0))
    for shape in (Box(0, 0, 0.1, 2), Box(0, 2, 2, 0.1), Box(0, -2, 2, 0.1), Box(2, 0, 0.1, 2), Box(-2, 0, 0.1, 2)):
        grid.add(shape)
    with pytest.raises(NoWay):
        plan(grid, np.array([-1.0, 0.0]), np.array([1.0, 0.0]))
