"""The arena: rooms, shelves, obstacles, where the robot starts and where it is to go, all in the frame `map`
(origin in the middle, x to the right, y up, metres). Built by simulation.py; read by model, planner and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .grid import Floats, Grid

PASSAGE = 0.7  # m left free on every side of an obstacle, so that the robot can always pass
ROOM_TO_STAND = 0.5  # m around the start and each goal
GOAL_DISTANCE = (3.0, 7.0)  # m, from the start or goal before
OBSTACLE_SIZE = (0.15, 0.3)  # m, radius or half side


@dataclass(frozen=True)
class Box:
    """A block with sides along the axes: its centre and half its sides, metres."""

    x: float
    y: float
    half_x: float
    half_y: float

    def distance(self, points: Floats) -> Floats:
        """Signed distance from `points` (n, 2) to the outline, metres (n,); below zero inside."""
        outward = np.abs(points - (self.x, self.y)) - (self.half_x, self.half_y)
        outside = np.hypot(np.maximum(outward[:, 0], 0), np.maximum(outward[:, 1], 0))
        nearest: Floats = outside + np.minimum(outward.max(axis=1), 0)
        return nearest


@dataclass(frozen=True)
class Post:
    """A round pillar: its centre and radius, metres."""

    x: float
    y: float
    radius: float

    def distance(self, points: Floats) -> Floats:
        """Signed distance from `points` (n, 2) to the outline, metres (n,); below zero inside."""
        nearest: Floats = np.hypot(points[:, 0] - self.x, points[:, 1] - self.y) - self.radius
        return nearest


Shape = Box | Post


@dataclass(frozen=True)
class World:
    """A whole arena. `size` is its inner width and height, `start` is x, y and yaw in radians, `goals` are x, y."""

    size: tuple[float, float]
    fixtures: tuple[Shape, ...]
    obstacles: tuple[Shape, ...]
    start: tuple[float, float, float]
    goals: tuple[tuple[float, float], ...]


class WorldError(ValueError):
    """The world asked for cannot be built."""


def walls(width: float, height: float, half: float = 0.05) -> tuple[Box, ...]:
    """Four walls of thickness 2 `half` just outside an arena of that inner size."""
    side_x, side_y = width / 2 + half, height / 2 + half
    return (
        Box(0, side_y, side_x + half, half),
        Box(0, -side_y, side_x + half, half),
        Box(side_x, 0, half, side_y - half),
        Box(-side_x, 0, half, side_y - half),
    )


LAYOUTS: dict[str, tuple[tuple[float, float], tuple[Box, ...]]] = {
    "open": ((10.0, 10.0), ()),
    "warehouse": ((14.0, 11.0), tuple(Box(x, y, 2.0, 0.3) for x in (-3.0, 3.0) for y in (-2.8, 0.0, 2.8))),
    "corridor": ((16.0, 5.0), (Box(-4, -0.8, 0.1, 1.7), Box(0, 0.8, 0.1, 1.7), Box(4, -0.8, 0.1, 1.7))),
}


def build(name: str, obstacles: int, goals: int, random: np.random.Generator) -> tuple[World, Grid]:
    """The layout called `name` with that many obstacles and goals, and its clearance; the same draws, the same world.
    Every goal can be reached, as obstacles keep PASSAGE from all else. Raises WorldError if they do not fit."""
    size, shelves = LAYOUTS[name]
    fixtures = walls(*size) + shelves
    grid = Grid(size)
    for shape in fixtures:
        grid.add(shape)
    placed = tuple(place(grid, random) for _ in range(obstacles))
    stops = route(grid, goals, random)
    start = (*stops[0], float(random.uniform(-np.pi, np.pi)))
    return World(size, fixtures, placed, start, tuple(stops[1:])), grid


def place(grid: Grid, random: np.random.Generator) -> Shape:
    """One more obstacle, already added to `grid`."""
    half = float(random.uniform(*OBSTACLE_SIZE))
    as_post = random.random() < 0.5
    reach = half if as_post else half * 2**0.5  # a box's corner is what stands out furthest
    x, y = draw(grid.points(grid.clearance >= reach + PASSAGE), random, "obstacles: no room for so many")
    shape = Post(x, y, half) if as_post else Box(x, y, half, half)
    grid.add(shape)
    return shape


def route(grid: Grid, goals: int, random: np.random.Generator) -> list[tuple[float, float]]:
    """The start and then the goals, each at GOAL_DISTANCE from the one before."""
    standing = grid.points(grid.clearance >= ROOM_TO_STAND)
    stops = [draw(standing, random, "no room for the start")]
    for _ in range(goals):
        away = np.hypot(*(standing - stops[-1]).T)
        near_enough = (away >= GOAL_DISTANCE[0]) & (away <= GOAL_DISTANCE[1])
        stops.append(draw(standing[near_enough], random, "goals: no room for the next one"))
    return stops


def draw(points: Floats, random: np.random.Generator, trouble: str) -> tuple[float, float]:
    """One of `points` (n, 2), each as likely; raises WorldError saying `trouble` if there is none."""
    if not len(points):
        raise WorldError(trouble)
    x, y = points[random.integers(len(points))]
    return float(x), float(y)


def clearance(shapes: Sequence[Shape], points: Floats) -> Floats:
    """Distance from each of `points` (n, 2) to the nearest of `shapes`, metres (n,); infinite without shapes."""
    nearest = np.full(len(points), np.inf)
    for shape in shapes:
        np.minimum(nearest, shape.distance(points), out=nearest)
    return nearest
