"""The ROS 2 messages this robot publishes, as CDR bytes (OMG XCDR1, little endian, encoded by rosbags), and the topics
they go to. Stamps are simulated time in nanoseconds since the run's start. Used by simulation.py and recording.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import cos, pi, sin
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from .grid import Floats
from .physics import Pose
from .sensors import BEAM_STEP, BEAMS, RANGE, Odometry

DISTRO = "jazzy"  # whose message definitions these are
STORE = get_typestore(Stores.ROS2_JAZZY)

Quaternion4 = tuple[float, float, float, float]
UPRIGHT: Quaternion4 = (0.0, 0.0, 0.0, 1.0)
LOOKING_DOWN: Quaternion4 = (1.0, 0.0, 0.0, 0.0)  # half a turn about x


@dataclass(frozen=True)
class Topic:
    """A topic's message type, and whether a late subscriber still gets the last message (transient_local)."""

    type: str
    latched: bool = False


TOPICS = {
    "/clock": Topic("rosgraph_msgs/msg/Clock"),
    "/tf": Topic("tf2_msgs/msg/TFMessage"),
    "/tf_static": Topic("tf2_msgs/msg/TFMessage", latched=True),
    "/odom": Topic("nav_msgs/msg/Odometry"),
    "/scan": Topic("sensor_msgs/msg/LaserScan"),
    "/imu/data": Topic("sensor_msgs/msg/Imu"),
    "/cmd_vel": Topic("geometry_msgs/msg/Twist"),
    "/goal": Topic("geometry_msgs/msg/PoseStamped", latched=True),
    "/camera/image/compressed": Topic("sensor_msgs/msg/CompressedImage"),
}


@dataclass(frozen=True)
class Transform:
    """Where the frame `child` is in the frame `parent`: metres and a quaternion x, y, z, w."""

    parent: str
    child: str
    place: tuple[float, float, float]
    turned: Quaternion4


def message(kind: str, *fields: object) -> Any:
    """A message of the type called `kind`, its fields in the order of its definition."""
    make: Any = STORE.types[kind]
    return make(*fields)


def encoded(content: Any) -> bytes:
    """`content` as CDR bytes with their encapsulation header."""
    return bytes(STORE.serialize_cdr(content, content.__msgtype__))


def definition(kind: str) -> tuple[str, str]:
    """The text that defines the type `kind` with all it refers to (ros2msg), and its type hash (REP 2016)."""
    text, _ = STORE.generate_msgdef(kind, ros_version=2)
    return text, STORE.hash_rihs01(kind)


def time(stamp: int) -> Any:
    return message("builtin_interfaces/msg/Time", stamp // 10**9, stamp % 10**9)


def header(stamp: int, frame: str) -> Any:
    return message("std_msgs/msg/Header", time(stamp), frame)


def vector(x: float, y: float, z: float) -> Any:
    return message("geometry_msgs/msg/Vector3", x, y, z)


def quaternion(parts: Quaternion4) -> Any:
    return message("geometry_msgs/msg/Quaternion", *parts)


def twist(forward: float, turn: float) -> Any:
    return message("geometry_msgs/msg/Twist", vector(forward, 0.0, 0.0), vector(0.0, 0.0, turn))


def pose(x: float, y: float, turned: Quaternion4) -> Any:
    return message("geometry_msgs/msg/Pose", message("geometry_msgs/msg/Point", x, y, 0.0), quaternion(turned))


def upright(yaw: float) -> Quaternion4:
    """The quaternion of a turn about z."""
    return (0.0, 0.0, sin(yaw / 2), cos(yaw / 2))


@cache
def diagonal(*variances: float) -> Floats:
    """A covariance matrix without correlations, row by row."""
    return np.diag(variances).ravel()


POSE_COVARIANCE = diagonal(0.01, 0.01, 1e-6, 1e-6, 1e-6, 0.02)  # a plain guess: of x, y, z, roll, pitch, yaw
TWIST_COVARIANCE = diagonal(1e-4, 1e-6, 1e-6, 1e-6, 1e-6, 1e-3)
ORIENTATION_COVARIANCE = diagonal(1e-6, 1e-6, 1e-6)


def clock(stamp: int) -> bytes:
    return encoded(message("rosgraph_msgs/msg/Clock", time(stamp)))


def command(forward: float, turn: float) -> bytes:
    """The speeds asked for, m/s and rad/s."""
    return encoded(twist(forward, turn))


def odometry(stamp: int, reading: Odometry) -> bytes:
    at = reading.pose
    where = message("geometry_msgs/msg/PoseWithCovariance", pose(at.x, at.y, upright(at.yaw)), POSE_COVARIANCE)
    speed = message("geometry_msgs/msg/TwistWithCovariance", twist(reading.forward, reading.turn), TWIST_COVARIANCE)
    return encoded(message("nav_msgs/msg/Odometry", header(stamp, "odom"), "base_link", where, speed))


def imu(stamp: int, turned: Quaternion4, rates: tuple[Floats, Floats], deviations: tuple[float, float]) -> bytes:
    """`rates` are rad/s (3,) and m/s2 (3,), `deviations` the standard deviations of each."""
    turning, pushing = (vector(*axes.tolist()) for axes in rates)
    turning_covariance, pushing_covariance = (diagonal(*[deviation**2] * 3) for deviation in deviations)
    return encoded(
        message(
            "sensor_msgs/msg/Imu",
            header(stamp, "imu_link"),
            quaternion(turned),
            ORIENTATION_COVARIANCE,
            turning,
            turning_covariance,
            pushing,
            pushing_covariance,
        )
    )


def scan(stamp: int, ranges: Floats, period: float) -> bytes:
    """`ranges` (BEAMS,) in metres, all measured at once, one scan every `period` seconds."""
    limits = (-pi, -pi + (BEAMS - 1) * BEAM_STEP, BEAM_STEP, 0.0, period, *RANGE)
    values = (ranges.astype(np.float32), np.empty(0, np.float32))
    return encoded(message("sensor_msgs/msg/LaserScan", header(stamp, "laser"), *limits, *values))


def goal(stamp: int, x: float, y: float) -> bytes:
    return encoded(message("geometry_msgs/msg/PoseStamped", header(stamp, "map"), pose(x, y, UPRIGHT)))


def image(stamp: int, png: bytes) -> bytes:
    data = np.frombuffer(png, np.uint8)
    return encoded(message("sensor_msgs/msg/CompressedImage", header(stamp, "overhead_camera"), "png", data))


def transforms(stamp: int, frames: Sequence[Transform]) -> bytes:
    return encoded(message("tf2_msgs/msg/TFMessage", [transform(stamp, frame) for frame in frames]))


def transform(stamp: int, frame: Transform) -> Any:
    how = message("geometry_msgs/msg/Transform", vector(*frame.place), quaternion(frame.turned))
    return message("geometry_msgs/msg/TransformStamped", header(stamp, frame.parent), frame.child, how)


def placed(parent: str, child: str, pose: Pose) -> Transform:
    """The frame `child` at `pose` in the frame `parent`."""
    return Transform(parent, child, (pose.x, pose.y, 0.0), upright(pose.yaw))
