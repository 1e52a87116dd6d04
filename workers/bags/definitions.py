"""Which message types can be decoded. Used by facts; imports the bag library only when a type asks for it."""

from functools import cache

# Encodings of definitions, as rosbag2 and MCAP name them, that ROS 2 readers understand.
READABLE_DEFINITIONS = frozenset({"ros2msg", "ros2idl"})
ROS1_DEFINITIONS = frozenset({"ros1msg"})
READABLE_MESSAGES = frozenset({"cdr", ""})


def is_decodable(type_name: str, encoding: str, embedded: bool) -> bool:
    """True when messages are CDR and their type is defined in the file or known to a ROS 2 distribution.

    Messages of ROS 1 need the definition in their file: a type of that name may be another one today. JSON needs none.
    """
    if encoding in ("ros1", "json"):
        return embedded or encoding == "json"
    return encoding in READABLE_MESSAGES and (embedded or spelled(type_name) in known_types())


def readable_definitions(encoding: str) -> frozenset[str]:
    """Encodings of definitions that serve messages of this encoding."""
    return ROS1_DEFINITIONS if encoding == "ros1" else READABLE_DEFINITIONS


def spelled(type_name: str) -> str:
    """`package/Name` of the first ROS 2 releases as today's `package/msg/Name`."""
    package, slash, name = type_name.partition("/")
    return f"{package}/msg/{name}" if slash and "/" not in name else type_name


@cache
def known_types() -> frozenset[str]:
    """Every type of every ROS 2 distribution the library knows."""
    # 75 ms of import that a recording with its own definitions never pays.
    from rosbags.typesys import Stores, get_typestore  # noqa: PLC0415

    stores = [get_typestore(store) for store in Stores if store.name.startswith("ROS2")]
    return frozenset(name for store in stores for name in store.fielddefs)
