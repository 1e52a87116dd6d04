"""One run from start to end: the world is built, the robot drives from goal to goal, everything is recorded.
Called by __main__; knows nothing of environments and signals."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from . import messages
from .controller import Driver
from .messages import LOOKING_DOWN, UPRIGHT, Transform, placed
from .model import LIDAR_HEIGHT, STEP
from .parameters import Parameters
from .physics import Robot
from .picture import Camera
from .recording import EVERY, Recording
from .report import Progress, Result
from .sensors import Encoders, Imu, Lidar
from .tally import Tally
from .world import build

NAME = "diffdrive"  # of the recording's folder
TICK_NS = 20_000_000  # /clock, /tf, /odom and /imu/data go out at each tick
TICK = TICK_NS / 1e9  # s
DRIVE_EVERY, SCAN_EVERY, SHOOT_EVERY = 2, 5, 50  # ticks
NAP = 0.05  # s; the longest sleep without a look around

MOUNTS = (
    Transform("base_link", "laser", (0.0, 0.0, LIDAR_HEIGHT), UPRIGHT),
    Transform("base_link", "imu_link", (0.0, 0.0, 0.08), UPRIGHT),
    Transform("map", "overhead_camera", (0.0, 0.0, 10.0), LOOKING_DOWN),
)


def run(parameters: Parameters, seed: int, output: Path, stopped: Callable[[], bool]) -> Result:
    """Simulate until every goal is reached, `duration` is over or `stopped` says so, recording into `output`.
    The same parameters and seed make the same messages, byte for byte (unless a pace is kept, in the same file), and
    the same metrics but for the real_time_factor. Raises FileExistsError if `output` holds a recording already."""
    every = EVERY if parameters.realtime_factor else None
    with (
        closing(Recording(output / NAME, {"simulator": NAME, "seed": str(seed)}, every)) as recording,
        closing(Progress(output)) as progress,
    ):
        simulation = Simulation(parameters, seed, recording, progress)
        simulation.begin()
        while not simulation.over() and not stopped():
            simulation.tick()
            simulation.keep_pace(stopped)
        result = simulation.end()
    result.save(output)
    return result


class Simulation:
    """The robot, its world, and what is to be known of them. Random numbers come from `seed` alone; a stamp is
    simulated time since the start, in the messages as in the recording."""

    def __init__(self, parameters: Parameters, seed: int, recording: Recording, progress: Progress) -> None:
        streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]
        self.world, grid = build(parameters.world, parameters.obstacles, parameters.goals, streams[0])
        self.robot = Robot(self.world, parameters.friction)
        self.lidar = Lidar(self.robot, parameters.noise, streams[1])
        self.imu = Imu(self.robot, parameters.noise, streams[2])
        self.encoders = Encoders(self.robot, parameters.noise, streams[3])
        self.driver = Driver(grid, parameters.max_speed, DRIVE_EVERY * TICK)
        self.camera = Camera(self.world)
        self.parameters, self.recording, self.progress = parameters, recording, progress
        self.pose = self.robot.pose()
        self.odometry = self.encoders.read(TICK)
        self.ranges = self.lidar.scan()
        self.tally = Tally(self.world, self.pose)
        self.ticks = 0
        self.started = monotonic()

    def time(self) -> float:
        """Simulated seconds since the start."""
        return self.ticks * TICK

    def stamp(self) -> int:
        """Simulated nanoseconds since the start."""
        return self.ticks * TICK_NS

    def send(self, topic: str, data: bytes) -> None:
        """Publish, which here is to record."""
        self.recording.write(topic, self.stamp(), data)

    def begin(self) -> None:
        """What is there before the first tick: the sensors' mounts and the first goal."""
        self.send("/tf_static", messages.transforms(0, MOUNTS))
        self.set_goal()
        self.recording.commit()
        self.tell()

    def over(self) -> bool:
        """Whether there is nothing left to do or no time left to do it."""
        return self.tally.reached == len(self.world.goals) or self.time() >= self.parameters.duration

    def tick(self) -> None:
        """Move on by TICK, then measure, drive and record what is due."""
        self.robot.step(round(TICK / STEP))
        self.ticks += 1
        self.pose = self.robot.pose()
        self.tally.add(self.pose, self.robot.bumping())
        self.measure()
        if self.ticks % SCAN_EVERY == 0:
            self.scan()
        if self.ticks % DRIVE_EVERY == 0:
            self.drive()
        if self.ticks % SHOOT_EVERY == 0:
            self.shoot()

    def measure(self) -> None:
        """All that goes out at each tick."""
        self.odometry = self.encoders.read(TICK)
        frames = (
            placed("map", "odom", self.pose.compose(self.odometry.pose.inverse())),
            placed("odom", "base_link", self.odometry.pose),
        )
        stamp = self.stamp()
        self.send("/clock", messages.clock(stamp))
        self.send("/tf", messages.transforms(stamp, frames))
        self.send("/odom", messages.odometry(stamp, self.odometry))
        self.send("/imu/data", messages.imu(stamp, self.robot.orientation(), self.imu.read(), self.imu.deviations))

    def scan(self) -> None:
        self.ranges = self.lidar.scan()
        self.driver.look(self.ranges)
        self.send("/scan", messages.scan(self.stamp(), self.ranges, SCAN_EVERY * TICK))

    def drive(self) -> None:
        """Steer, toward the next goal if this one is reached; at the last one, stand."""
        self.camera.trace(self.pose)
        if self.driver.arrived(self.pose):
            self.tally.reached += 1
            if not self.over():
                self.set_goal()
        speeds = (0.0, 0.0) if self.over() else self.driver.command(self.pose)
        self.robot.drive(*speeds)
        self.send("/cmd_vel", messages.command(*speeds))

    def set_goal(self) -> None:
        """Plan for the next goal and tell it."""
        goal = self.world.goals[self.tally.reached]
        self.driver.head_for(self.pose, goal)
        self.send("/goal", messages.goal(self.stamp(), *goal))

    def shoot(self) -> None:
        hits = self.lidar.hits(self.ranges, self.pose)
        picture = self.camera.shoot(self.pose, self.driver.way, hits)
        self.send("/camera/image/compressed", messages.image(self.stamp(), picture))

    def keep_pace(self, stopped: Callable[[], bool]) -> None:
        """Commit and tell what is due; then sleep until real time has caught up, if a pace was asked for."""
        self.recording.commit_if_due()
        if self.progress.due(self.time()):
            self.tell()
        while (wait := self.ahead()) > 0 and not stopped():
            sleep(min(wait, NAP))
            self.recording.commit_if_due()

    def ahead(self) -> float:
        """Seconds of real time until the next tick may come; at most zero if there is no reason to wait."""
        factor = self.parameters.realtime_factor
        return self.started + self.time() / factor - monotonic() if factor else 0.0

    def percent(self) -> float:
        """How far the run is: by the way to the goals or by the time that is over, whichever is more."""
        way = (self.tally.reached + self.driver.done()) / len(self.world.goals)
        return 100 * min(1.0, max(way, self.time() / self.parameters.duration))

    def tell(self) -> None:
        """Append a line of progress."""
        reached, goals = self.tally.reached, len(self.world.goals)
        self.progress.tell(
            self.percent(), self.time(), f"{reached} of {goals} goals reached, {self.tally.collisions} collisions"
        )

    def end(self) -> Result:
        """The last line of progress, and the verdict."""
        self.tell()
        spent = monotonic() - self.started
        return Result(self.tally.passed(), self.tally.metrics(self.time(), spent, self.pose, self.odometry))
