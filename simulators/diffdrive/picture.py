"""The picture of the camera above the arena: drawn with numpy in a few colours, packed as a PNG.
Used by simulation.py."""

from __future__ import annotations

import struct
import zlib
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from .grid import Floats
from .model import RADIUS
from .physics import Pose
from .world import World, clearance

Pixels = NDArray[np.uint8]

SCALE = 20  # pixels per metre
MARGIN = 0.1  # m shown around the arena
PALETTE = {
    "floor": (236, 239, 241),
    "fixture": (69, 90, 100),
    "obstacle": (255, 152, 0),
    "way": (178, 223, 219),
    "trail": (100, 181, 246),
    "beam": (229, 57, 53),
    "goal": (67, 160, 71),
    "robot": (26, 35, 126),
    "nose": (255, 255, 255),
}
COLOURS = {name: number for number, name in enumerate(PALETTE)}


class Camera:
    """Looks straight down on `world`; north is up, SCALE pixels to the metre."""

    def __init__(self, world: World) -> None:
        width, height = (round((side + 2 * MARGIN) * SCALE) for side in world.size)
        self.offset = np.array([width / 2, height / 2])
        columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        places = np.stack([columns - width / 2, height / 2 - rows], axis=-1).reshape(-1, 2) / SCALE
        self.scene: Pixels = np.full((height, width), COLOURS["floor"], np.uint8)
        for shapes, colour in ((world.fixtures, "fixture"), (world.obstacles, "obstacle")):
            inside = clearance(shapes, places).reshape(height, width) <= 0
            self.scene[inside] = COLOURS[colour]

    def trace(self, pose: Pose) -> None:
        """Leave a mark on the floor, to be seen in all later pictures."""
        paint(self.scene, self.pixels(np.array([[pose.x, pose.y]])), "trail")

    def shoot(self, pose: Pose, way: Floats, hits: Floats) -> bytes:
        """A PNG: the robot at `pose`, the `way` before it (n, 2) up to its goal, and the lidar's `hits` (n, 2)."""
        canvas = self.scene.copy()
        paint(canvas, self.pixels(way), "way")
        paint(canvas, self.pixels(hits), "beam")
        paint(canvas, self.pixels(way[-1] + disc(0.12)), "goal")
        here, ahead = np.array([pose.x, pose.y]), np.array([cos(pose.yaw), sin(pose.yaw)])
        paint(canvas, self.pixels(here + disc(RADIUS)), "robot")
        paint(canvas, self.pixels(here + np.linspace(0.04, RADIUS, 4)[:, None] * ahead), "nose")
        return png(canvas, list(PALETTE.values()))

    def pixels(self, points: Floats) -> NDArray[np.intp]:
        """The pixels (n, 2), column and row, at `points` (n, 2) of the map."""
        pixels: NDArray[np.intp] = np.floor(points * (SCALE, -SCALE) + self.offset).astype(np.intp)
        return pixels


def paint(canvas: Pixels, pixels: NDArray[np.intp], colour: str) -> None:
    """Colour those of `pixels` (n, 2) that lie on the canvas."""
    columns, rows = pixels.T
    seen = (columns >= 0) & (columns < canvas.shape[1]) & (rows >= 0) & (rows < canvas.shape[0])
    canvas[rows[seen], columns[seen]] = COLOURS[colour]


def disc(radius: float) -> Floats:
    """Points (n, 2) that fill a disc around the origin, half a pixel apart."""
    along = np.arange(-radius, radius, 0.5 / SCALE)
    square = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
    filled: Floats = square[np.hypot(*square.T) <= radius]
    return filled


def png(canvas: Pixels, palette: list[tuple[int, int, int]]) -> bytes:
    """`canvas` (rows, columns) of indices into `palette` as a PNG (W3C Portable Network Graphics, third edition):
    8 bits a pixel, colour type 3, every row unfiltered."""
    height, width = canvas.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), canvas]).tobytes()
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", bytes(part for colour in palette for part in colour)),
            chunk(b"IDAT", zlib.compress(rows, 6)),
            chunk(b"IEND", b""),
        ]
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk: length, kind, data, checksum over kind and data."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
