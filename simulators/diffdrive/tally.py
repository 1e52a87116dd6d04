"""Counts what a run is judged by. Filled by simulation.py."""

from __future__ import annotations

import numpy as np

from .grid import Floats
from .model import RADIUS
from .physics import Pose
from .sensors import Odometry
from .world import World, clearance


class Tally:
    """The robot's true track, the goals it reached and the things it hit; `start` is its first pose."""

    def __init__(self, world: World, start: Pose) -> None:
        self.world, self.start = world, start
        self.track = [(start.x, start.y)]
        self.touching: set[int] = set()
        self.collisions = self.reached = 0

    def add(self, pose: Pose, touching: set[int]) -> None:
        """Take in one tick; a touch counts once, however long it lasts."""
        self.track.append((pose.x, pose.y))
        self.collisions += len(touching - self.touching)
        self.touching = touching

    def passed(self) -> bool:
        """Whether every goal was reached and nothing was hit."""
        return self.reached == len(self.world.goals) and not self.collisions

    def metrics(self, sim_time: float, real_time: float, pose: Pose, odometry: Odometry) -> dict[str, float]:
        """The figures of the run, which ended at `pose`; only real_time_factor depends on the machine."""
        track: Floats = np.array(self.track)
        away = clearance(self.world.fixtures + self.world.obstacles, track)
        believed = self.start.compose(odometry.pose)
        return {
            "path_length_m": round(float(np.hypot(*np.diff(track, axis=0).T).sum()), 4),
            "collisions": self.collisions,
            "goals_reached": self.reached,
            "closest_obstacle_m": round(float(away.min()) - RADIUS, 4),
            "odometry_error_m": round(believed.distance(pose.x, pose.y), 4),
            "sim_time_s": round(sim_time, 3),
            "real_time_factor": round(sim_time / max(real_time, 1e-6), 2),
        }
