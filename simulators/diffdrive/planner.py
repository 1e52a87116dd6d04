"""Ways through the known map: A* over the clearance grid, then pulled straight. Called by controller.py."""

from __future__ import annotations

import heapq
from itertools import pairwise

import numpy as np

from .grid import CELL, Bools, Floats, Grid

KEEP_OUT = 0.26  # m from the robot's centre to anything: its radius and a margin
COMFORT = 0.5  # m; closer than this costs more, so that the way stays in the middle of a passage
SPACING = 0.05  # m between the points of a way


class NoWay(ValueError):
    """There is no way between two points."""


def plan(grid: Grid, start: Floats, goal: Floats) -> Floats:
    """A way (n, 2) from `start` to `goal` with a point every SPACING, nowhere nearer than KEEP_OUT to anything unless
    `start` is; raises NoWay."""
    coarse = np.vstack([start, cheapest(grid, start, goal), goal])
    return densified(straightened(grid, coarse))


def cheapest(grid: Grid, start: Floats, goal: Floats) -> Floats:
    """The cells' centres (n, 2) on the cheapest way; A* after Hart, Nilsson and Raphael (1968). A step costs its
    length in cells, up to three times as much near things; the straight line is never more, as A* needs."""
    columns = grid.clearance.shape[1]
    free = grid.clearance >= KEEP_OUT
    cost = (1 + 2 * np.clip((COMFORT - grid.clearance) / (COMFORT - KEEP_OUT), 0, 1)).ravel().tolist()
    open_cells = free.ravel().tolist()
    origin, target = (nearest_free(grid, free, point) for point in (start, goal))
    row_of_target, column_of_target = divmod(target, columns)
    steps = [(dy * columns + dx, (dx * dx + dy * dy) ** 0.5) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy]
    best, came_from, waiting = {origin: 0.0}, {origin: origin}, [(0.0, origin)]
    done = set()
    while waiting:
        cell = heapq.heappop(waiting)[1]
        if cell == target:
            return grid.centres.reshape(-1, 2)[trail(came_from, cell)]
        if cell in done:
            continue
        done.add(cell)
        for offset, length in steps:  # cells at the edge are never free, so no step leaves the grid
            beside = cell + offset
            reached = best[cell] + length * cost[beside]
            if open_cells[beside] and reached < best.get(beside, np.inf):
                best[beside], came_from[beside] = reached, cell
                row, column = divmod(beside, columns)
                left = ((row - row_of_target) ** 2 + (column - column_of_target) ** 2) ** 0.5
                heapq.heappush(waiting, (reached + left, beside))
    raise NoWay(f"no way from {start} to {goal}")


def nearest_free(grid: Grid, free: Bools, point: Floats) -> int:
    """The index of the free cell nearest to `point`."""
    away = np.where(free, np.hypot(*(grid.centres - point).transpose(2, 0, 1)), np.inf)
    return int(away.argmin())


def trail(came_from: dict[int, int], cell: int) -> list[int]:
    """The cells from the first one to `cell`."""
    cells = [cell]
    while came_from[cell] != cell:
        cell = came_from[cell]
        cells.append(cell)
    return cells[::-1]


def straightened(grid: Grid, way: Floats) -> Floats:
    """The corners (k, 2) of `way` after each was joined to the furthest point in straight and comfortable sight."""
    corners, at = [way[0]], 0
    while at < len(way) - 1:
        at = next(ahead for ahead in range(len(way) - 1, at, -1) if ahead == at + 1 or sees(grid, way[at : ahead + 1]))
        corners.append(way[at])
    return np.array(corners)


def sees(grid: Grid, way: Floats) -> bool:
    """Whether the straight line between the ends of `way` stays as clear as `way` itself, or comfortably clear."""
    enough = min(COMFORT, float(grid.clearance_at(way).min()))
    return bool((grid.clearance_at(densified(way[[0, -1]])) >= enough).all())


def densified(corners: Floats) -> Floats:
    """Points (n, 2) every SPACING or a little less along straight lines between `corners` (k, 2)."""
    pieces = [
        np.linspace(a, b, max(2, int(np.hypot(*(b - a)) / min(SPACING, CELL)) + 2))[:-1] for a, b in pairwise(corners)
    ]
    return np.vstack([*pieces, corners[-1:]])
