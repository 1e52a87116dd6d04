"""The robot and its world as an MJCF text, for physics.py to compile.
MJCF: https://mujoco.readthedocs.io/en/stable/XMLreference.html"""

from __future__ import annotations

from math import cos, sin

from .world import Box, Shape, World

RADIUS = 0.16  # m, of the round chassis; the wheels stay inside it
WHEEL_RADIUS = 0.05  # m
TRACK = 0.26  # m between the wheels
LIDAR_HEIGHT = 0.18  # m
STEP = 0.005  # s
SCENERY, ROBOT, FLOOR = 0, 1, 2  # geom groups; the lidar sees only the scenery

CASTER = 0.02  # m, radius
TALL = 0.25  # m, half the height of walls and obstacles


def mjcf(world: World, friction: float) -> str:
    """The whole model. `implicitfast` keeps the stiff wheel servos stable, where explicit Euler diverges; the wheels'
    priority makes their friction count alone, where MuJoCo would else take the larger of two."""
    scenery = "\n".join(block(f"fixture_{number}", shape) for number, shape in enumerate(world.fixtures))
    obstacles = "\n".join(block(f"obstacle_{number}", shape) for number, shape in enumerate(world.obstacles))
    return f"""
<mujoco model="diffdrive">
  <option integrator="implicitfast" cone="elliptic" timestep="{STEP}"/>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1" group="{FLOOR}"/>
    {scenery}
    {obstacles}
    {robot(world.start, friction)}
  </worldbody>
  <actuator>
    <velocity name="left" joint="left" kv="0.5" forcerange="-1 1"/>
    <velocity name="right" joint="right" kv="0.5" forcerange="-1 1"/>
  </actuator>
  <sensor>
    <gyro name="gyro" site="imu"/>
    <accelerometer name="accelerometer" site="imu"/>
  </sensor>
</mujoco>"""


def block(name: str, shape: Shape) -> str:
    """One thing that stands and never moves."""
    if isinstance(shape, Box):
        form = f'type="box" size="{shape.half_x} {shape.half_y} {TALL}"'
    else:
        form = f'type="cylinder" size="{shape.radius} {TALL}"'
    return f'<geom name="{name}" {form} pos="{shape.x} {shape.y} {TALL}" group="{SCENERY}"/>'


def robot(start: tuple[float, float, float], friction: float) -> str:
    """The body `base_link`, its origin on the floor between the wheels, x forward. The casters hang a millimetre above
    the floor and slide freely, so the weight stays on the wheels and the body may nod."""
    x, y, yaw = start
    return f"""
    <body name="base_link" pos="{x} {y} 0" quat="{cos(yaw / 2)} 0 0 {sin(yaw / 2)}">
      <freejoint name="free"/>
      <geom name="chassis" type="cylinder" size="{RADIUS} 0.05" pos="0 0 0.08" mass="5" group="{ROBOT}"/>
      {caster("front", 0.12)}
      {caster("rear", -0.12)}
      <site name="imu" pos="0 0 0.08"/>
      <site name="laser" pos="0 0 {LIDAR_HEIGHT}"/>
      {wheel("left", TRACK / 2, friction)}
      {wheel("right", -TRACK / 2, friction)}
    </body>"""


def caster(name: str, x: float) -> str:
    """A frictionless ball."""
    place = f'size="{CASTER}" pos="{x} 0 {CASTER + 0.001}"'
    return f'<geom name="{name}" type="sphere" {place} mass="0.05" condim="1" priority="1" group="{ROBOT}"/>'


def wheel(name: str, y: float, friction: float) -> str:
    """A driven wheel that turns about the robot's y axis, positive forward."""
    return f"""
      <body name="{name}_wheel" pos="0 {y} {WHEEL_RADIUS}">
        <joint name="{name}" axis="0 1 0" damping="0.001" armature="0.005"/>
        <geom name="{name}" type="ellipsoid" size="{WHEEL_RADIUS} 0.01 {WHEEL_RADIUS}" mass="0.3" priority="1"
              friction="{friction} 0.005 0.0001" group="{ROBOT}"/>
      </body>"""
