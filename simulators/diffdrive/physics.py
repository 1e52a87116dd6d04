"""The robot in its world, stepped by MuJoCo: what is true, before sensors add their noise. Driven by simulation.py."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, sin

import mujoco
import numpy as np
from numpy.typing import NDArray

from .grid import Floats
from .model import ROBOT, SCENERY, TRACK, WHEEL_RADIUS, mjcf
from .world import World


@dataclass(frozen=True)
class Pose:
    """Where a body stands on the floor: metres and radians."""

    x: float
    y: float
    yaw: float

    def distance(self, x: float, y: float) -> float:
        """Metres from here to a point."""
        return hypot(x - self.x, y - self.y)

    def compose(self, inner: Pose) -> Pose:
        """What is at `inner` as seen from this pose, in the frame of this pose."""
        ahead, aside = cos(self.yaw), sin(self.yaw)
        x = self.x + inner.x * ahead - inner.y * aside
        y = self.y + inner.x * aside + inner.y * ahead
        return Pose(x, y, self.yaw + inner.yaw)

    def inverse(self) -> Pose:
        """The pose that composed with this one gives none."""
        ahead, aside = cos(self.yaw), sin(self.yaw)
        return Pose(-self.x * ahead - self.y * aside, self.x * aside - self.y * ahead, -self.yaw)


class Robot:
    """MuJoCo's model and state of one robot in `world`. Same calls, same numbers, to the last bit."""

    def __init__(self, world: World, friction: float) -> None:
        self.model = mujoco.MjModel.from_xml_string(mjcf(world, friction))
        self.data = mujoco.MjData(self.model)
        self.groups: NDArray[np.int32] = self.model.geom_group
        self.base = self.model.body("base_link").id
        self.laser = self.model.site("laser").id
        self.left, self.right = (int(self.model.joint(side).qposadr[0]) for side in ("left", "right"))
        mujoco.mj_forward(self.model, self.data)

    def drive(self, forward: float, turn: float) -> None:
        """Let the wheels aim at the speed `forward` (m/s) and the rate `turn` (rad/s, left positive) of the body."""
        self.data.ctrl[:] = (
            (forward - turn * TRACK / 2) / WHEEL_RADIUS,
            (forward + turn * TRACK / 2) / WHEEL_RADIUS,
        )

    def step(self, steps: int) -> None:
        """Move on by that many steps of the physics."""
        mujoco.mj_step(self.model, self.data, nstep=steps)

    def orientation(self) -> tuple[float, float, float, float]:
        """The body's quaternion in the map: x, y, z, w, as ROS orders them (MuJoCo: w first)."""
        w, x, y, z = self.data.qpos[3:7].tolist()
        return x, y, z, w

    def pose(self) -> Pose:
        """The true pose in the map."""
        x, y = self.data.qpos[:2].tolist()
        qx, qy, qz, qw = self.orientation()
        return Pose(x, y, atan2(2 * (qw * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz)))

    def wheels(self) -> tuple[float, float]:
        """The angles the left and the right wheel have turned by, radians."""
        return float(self.data.qpos[self.left]), float(self.data.qpos[self.right])

    def motion(self) -> Floats:
        """What the IMU's place feels, in the body's frame (6,): angular velocity rad/s, then acceleration m/s2."""
        return np.array(self.data.sensordata)

    def rays(self, directions: Floats, reach: float) -> Floats:
        """How far the scenery is from the lidar along `directions` (n, 3) in the body's frame, metres (n,); infinite
        beyond `reach`."""
        count = len(directions)
        facing = directions @ self.data.site_xmat[self.laser].reshape(3, 3).T
        distances, touched = np.empty(count), np.empty(count, np.int32)
        seen = np.zeros(6, np.uint8)
        seen[SCENERY] = 1
        origin = self.data.site_xpos[self.laser]
        mujoco.mj_multiRay(
            self.model, self.data, origin, facing.ravel(), seen, True, -1, touched, distances, None, count, reach
        )
        distances[touched < 0] = np.inf
        return distances

    def bumping(self) -> set[int]:
        """The pieces of scenery that the robot touches now."""
        if not self.data.ncon:
            return set()
        pairs = self.data.contact.geom
        groups = self.groups[pairs]
        hits = pairs[(groups.min(axis=1) == SCENERY) & (groups.max(axis=1) == ROBOT)]
        return {int(geom) for geom in hits.ravel() if self.groups[geom] == SCENERY}
