"""A clearance map: how far each cell of the arena is from whatever stands there. Filled by world.py, read by the
planner and by whoever asks how close the robot came to something."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CELL = 0.1  # m


class Outline(Protocol):
    """Anything with an outline."""

    def distance(self, points: Floats) -> Floats:
        """Signed distance from `points` (n, 2) to the outline, metres (n,)."""


class Grid:
    """Square cells of CELL over an arena of `size` (width, height) around the origin. `clearance` (rows, columns) is
    the distance from each cell's centre to the nearest outline, metres; row 0 is at the lowest y."""

    def __init__(self, size: tuple[float, float]) -> None:
        self.corner = (-size[0] / 2, -size[1] / 2)
        columns, rows = (round(side / CELL) for side in size)
        xs = self.corner[0] + (np.arange(columns) + 0.5) * CELL
        ys = self.corner[1] + (np.arange(rows) + 0.5) * CELL
        self.centres: Floats = np.stack(np.meshgrid(xs, ys), axis=-1)
        self.clearance: Floats = np.full((rows, columns), np.inf)

    def add(self, shape: Outline) -> None:
        """Let `shape` stand there."""
        distance = shape.distance(self.centres.reshape(-1, 2)).reshape(self.clearance.shape)
        np.minimum(self.clearance, distance, out=self.clearance)

    def points(self, chosen: Bools) -> Floats:
        """The centres (n, 2) of the cells `chosen` (rows, columns)."""
        return self.centres[chosen]

    def cells(self, points: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the cells that hold `points` (n, 2); what lies outside counts to the cell at the edge."""
        indices = np.floor((points - self.corner) / CELL).astype(np.intp)
        rows, columns = self.clearance.shape
        return indices[:, 1].clip(0, rows - 1), indices[:, 0].clip(0, columns - 1)

    def clearance_at(self, points: Floats) -> Floats:
        """Clearance at `points` (n, 2), metres (n,), to the precision of a cell."""
        return self.clearance[self.cells(points)]
