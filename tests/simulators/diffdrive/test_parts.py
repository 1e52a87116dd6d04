"""The parts that other programs must understand: PNG and YAML; and the collisions that must not be missed."""

import zlib

import numpy as np
import pytest
import yaml

from simulators.diffdrive.physics import Pose, Robot
from simulators.diffdrive.picture import COLOURS, PALETTE, Camera, png
from simulators.diffdrive.tally import Tally
from simulators.diffdrive.world import Box, Post, World
from simulators.diffdrive.yamltext import Value, dump

ROOM = World((6.0, 4.0), (Box(3.05, 0, 0.05, 2),), (Post(1.0, 0.0, 0.2),), (0.0, 0.0, 0.0), ((2.0, 1.0),))


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": {"c": [1, 2], "d": []}, "e": None, "f": {}, "g": False},
        [{"a": {"b": 1}}, {"c": [{"d": "x"}]}],
        {"words": ["", "7", "true", "No", "~", "/tf", "a: b", "std_msgs/msg/Header", "line\nbreak", "é"]},
        {"big": 9223372036854775807},
    ],
)
def test_yaml_is_read_back_as_it_was(value: Value) -> None:
    assert yaml.safe_load(dump(value)) == value


def pixels(image: bytes) -> tuple[int, int, list[list[int]]]:
    """Width, height and the palette's indices, row by row, of a PNG as picture.py writes it; checks every checksum."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(image):
        length, kind = int.from_bytes(image[at : at + 4], "big"), image[at + 4 : at + 8]
        parts[kind] = image[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + parts[kind]) == int.from_bytes(image[at + 8 + length : at + 12 + length], "big")
        at += 12 + length
    assert list(parts) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height = (int.from_bytes(parts[b"IHDR"][side : side + 4], "big") for side in (0, 4))
    rows = zlib.decompress(parts[b"IDAT"])
    assert len(rows) == height * (width + 1)
    return width, height, [list(rows[row * (width + 1) + 1 : (row + 1) * (width + 1)]) for row in range(height)]


def test_a_png_holds_the_canvas() -> None:
    canvas = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert pixels(png(canvas, list(PALETTE.values()))) == (3, 2, canvas.tolist())


def test_the_picture_shows_the_robot_where_it_is() -> None:
    camera = Camera(ROOM)
    shot = camera.shoot(Pose(-2.0, 1.0, 0.0), np.array([[-2.0, 1.0], [2.0, 1.0]]), np.empty((0, 2)))
    width, height, rows = pixels(shot)
    assert (width, height) == (124, 84)
    found = {name: np.argwhere(np.array(rows) == colour) for name, colour in COLOURS.items()}
    assert found["robot"].mean(axis=0) == pytest.approx([22, 22], abs=1)
    assert found["goal"].mean(axis=0) == pytest.approx([22, 102], abs=1)
    assert found["obstacle"].mean(axis=0) == pytest.approx([42, 82], abs=1)
    assert found["fixture"][:, 1].min() == 122


def test_driving_into_something_is_one_collision() -> None:
    robot = Robot(ROOM, friction=0.8)
    tally = Tally(ROOM, robot.pose())
    robot.drive(0.5, 0.0)
    for _ in range(150):
        robot.step(4)
        tally.add(robot.pose(), robot.bumping())
    assert tally.collisions == 1
    assert robot.pose().x == pytest.approx(1.0 - 0.2 - 0.16, abs=0.02)
    tally.reached = 1
    assert not tally.passed()


def test_poses_compose_and_invert() -> None:
    pose = Pose(1.0, -2.0, 0.7)
    home = pose.compose(pose.inverse())
    assert (home.x, home.y, home.yaw) == pytest.approx((0, 0, 0))
