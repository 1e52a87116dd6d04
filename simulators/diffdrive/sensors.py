"""What the robot measures: truth from physics.py with noise added. Each sensor draws from a random stream of its own,
so that changing one leaves the others as they were. Read by simulation.py."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from .grid import Floats
from .model import TRACK, WHEEL_RADIUS
from .physics import Pose, Robot

BEAMS = 240
BEAM_STEP = 2 * pi / BEAMS  # rad
RANGE = (0.05, 12.0)  # m
LIDAR_NOISE = 0.01  # m
GYRO_NOISE = 0.005  # rad/s
ACCELEROMETER_NOISE = 0.05  # m/s2
WHEEL_NOISE = 0.02  # of the angle turned, drawn at each reading
WHEEL_SCALE_NOISE = 0.001  # of the angle turned, drawn once: a wheel a little larger or smaller than thought


class Lidar:
    """A planar scanner all around; beam 0 looks backwards, the next ones turn left."""

    def __init__(self, robot: Robot, noise: float, random: np.random.Generator) -> None:
        self.robot, self.deviation, self.random = robot, LIDAR_NOISE * noise, random
        angles = np.arange(BEAMS) * BEAM_STEP - pi
        self.directions: Floats = np.stack([np.cos(angles), np.sin(angles), np.zeros(BEAMS)], axis=1)

    def scan(self) -> Floats:
        """Ranges in metres (BEAMS,); infinite where nothing is in reach (REP 117)."""
        ranges = self.robot.rays(self.directions, RANGE[1])
        noisy = ranges + self.random.normal(0, self.deviation, BEAMS)
        return np.where(np.isinf(ranges), np.inf, noisy.clip(*RANGE))

    def hits(self, ranges: Floats, pose: Pose) -> Floats:
        """Where in the map the beams of a scan taken at `pose` ended (n, 2); those without end are left out."""
        ahead, aside = cos(pose.yaw), sin(pose.yaw)
        ends = (ranges[:, None] * self.directions[:, :2])[np.isfinite(ranges)]
        found: Floats = ends @ np.array([[ahead, aside], [-aside, ahead]]) + (pose.x, pose.y)
        return found


class Imu:
    """Gyroscope and accelerometer."""

    def __init__(self, robot: Robot, noise: float, random: np.random.Generator) -> None:
        self.robot, self.random = robot, random
        self.deviations = (GYRO_NOISE * noise, ACCELEROMETER_NOISE * noise)

    def read(self) -> tuple[Floats, Floats]:
        """Angular velocity in rad/s (3,) and acceleration in m/s2 (3,), gravity included, in the body's frame."""
        measured = self.robot.motion() + self.random.normal(0, np.repeat(self.deviations, 3))
        return measured[:3], measured[3:]


@dataclass(frozen=True)
class Odometry:
    """What the wheels tell: a pose in the frame `odom`, which begins where the robot started, and m/s and rad/s."""

    pose: Pose
    forward: float
    turn: float


class Encoders:
    """Dead reckoning from the wheels' angles, by the midpoint rule; drifts, as slip and noise add up."""

    def __init__(self, robot: Robot, noise: float, random: np.random.Generator) -> None:
        self.robot, self.deviation, self.random = robot, WHEEL_NOISE * noise, random
        self.scale = (1 + random.normal(0, WHEEL_SCALE_NOISE * noise, 2)).tolist()
        self.angles = robot.wheels()
        self.pose = Pose(0, 0, 0)

    def read(self, elapsed: float) -> Odometry:
        """The odometry now, `elapsed` seconds after the last reading."""
        angles = self.robot.wheels()
        errors = self.random.normal(0, self.deviation, 2).tolist()
        left, right = (
            (now - before) * (scale + error) * WHEEL_RADIUS
            for now, before, scale, error in zip(angles, self.angles, self.scale, errors, strict=True)
        )
        self.angles = angles
        ahead, turned = (left + right) / 2, (right - left) / TRACK
        moved = Pose(ahead * cos(turned / 2), ahead * sin(turned / 2), turned)
        self.pose = self.pose.compose(moved)
        return Odometry(self.pose, ahead / elapsed, turned / elapsed)
