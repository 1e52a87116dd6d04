"""The driver: plans a way to a goal and follows it. It knows the map and its true pose (as a perfect localiser would
tell) and looks at the lidar only to slow down. Called by simulation.py."""

from __future__ import annotations

from math import atan2, cos, pi, sin, sqrt

import numpy as np

from .grid import Floats, Grid
from .model import RADIUS
from .physics import Pose
from .planner import SPACING, plan
from .sensors import BEAM_STEP, BEAMS

ARRIVED = 0.12  # m from the goal
ACCELERATION = 2.0  # m/s2
BRAKING = 0.5  # m/s2 toward a goal
TURN_ACCELERATION = 6.0  # rad/s2
SIDEWAYS_ACCELERATION = 0.5  # m/s2 in a bend
TURN_RATE = 1.8  # rad/s
CREEP = 0.1  # m/s, never slower on the way
FACE_FIRST = 1.0  # rad off the way; beyond it the robot turns on the spot
FRONT = round(0.6 / BEAM_STEP)  # beams to each side of straight ahead that count as the front


class Driver:
    """Steers the robot at most `max_speed` m/s fast; asked once every `period` seconds."""

    def __init__(self, grid: Grid, max_speed: float, period: float) -> None:
        self.grid, self.max_speed, self.period = grid, max_speed, period
        self.way: Floats = np.empty((0, 2))
        self.nearest = 0
        self.forward = self.turn = 0.0
        self.gap = float("inf")

    def head_for(self, pose: Pose, goal: tuple[float, float]) -> None:
        """Plan the way from `pose` to `goal`; raises NoWay."""
        self.way = plan(self.grid, np.array([pose.x, pose.y]), np.array(goal))
        self.nearest = 0

    def look(self, ranges: Floats) -> None:
        """Take a scan (BEAMS,) into account: what is in front, and how near."""
        middle = BEAMS // 2
        self.gap = max(0.0, float(ranges[middle - FRONT : middle + FRONT + 1].min()) - RADIUS)

    def done(self) -> float:
        """How much of the way is behind, 0 to 1; 0 at a way's end too, where the next one begins."""
        return self.nearest / len(self.way)

    def arrived(self, pose: Pose) -> bool:
        """Whether `pose` is at the way's end."""
        return pose.distance(*self.way[-1]) <= ARRIVED

    def command(self, pose: Pose) -> tuple[float, float]:
        """The speeds to drive at now, m/s and rad/s, within the limits on acceleration."""
        forward, turn = self.wish(pose)
        self.forward = toward(self.forward, forward, ACCELERATION * self.period)
        self.turn = toward(self.turn, turn, TURN_ACCELERATION * self.period)
        return self.forward, self.turn

    def wish(self, pose: Pose) -> tuple[float, float]:
        """Pure pursuit (Coulter 1992): the arc through a point of the way some distance ahead."""
        x, y = self.target(pose)
        off = (atan2(y - pose.y, x - pose.x) - pose.yaw + pi) % (2 * pi) - pi
        if abs(off) > FACE_FIRST:
            return 0.0, max(-TURN_RATE, min(TURN_RATE, 2.5 * off))
        bend = 2 * sin(off) / max(pose.distance(x, y), SPACING)
        forward = self.speed(pose, abs(bend)) * cos(off)
        return forward, forward * bend

    def target(self, pose: Pose) -> tuple[float, float]:
        """The point of the way to aim at: further ahead the faster the robot is."""
        ahead = self.way[self.nearest : self.nearest + round(1.0 / SPACING)]
        self.nearest += int(np.hypot(ahead[:, 0] - pose.x, ahead[:, 1] - pose.y).argmin())
        further = self.nearest + round((0.2 + 0.4 * self.forward) / SPACING)
        x, y = self.way[min(further, len(self.way) - 1)].tolist()
        return x, y

    def speed(self, pose: Pose, bend: float) -> float:
        """How fast to go: slower in a bend (1/m), near things, and toward the goal."""
        stopping = sqrt(2 * BRAKING * pose.distance(*self.way[-1]))
        bending = min(sqrt(SIDEWAYS_ACCELERATION / bend), TURN_RATE / bend) if bend else self.max_speed
        return max(CREEP, min(self.max_speed, stopping, bending, self.gap))


def toward(now: float, wanted: float, most: float) -> float:
    """`wanted`, or as near to it as a change of `most` allows."""
    return now + max(-most, min(most, wanted - now))
