"""Where metadata.yaml differs from what was read, as problems. Used by facts."""

from workers.bags.definitions import spelled
from workers.bags.metadata import Claim
from workers.bags.problems import Code, Problems
from workers.bags.shapes import Extent, Topic

# How rosbag2 calls storages that have another name here.
STORAGES = {"rosbag_v2": "rosbag1"}


def compare(claim: Claim, found: Extent, topics: list[Topic], storage: str | None, problems: Problems) -> None:
    """Adds a problem for each difference in storage, numbers, types and times."""
    if claim.storage is not None and STORAGES.get(claim.storage, claim.storage) != storage:
        problems.add(Code.METADATA_STORAGE_MISMATCH, f"it claims storage {claim.storage[:40]!r}, there is {storage}")
    if claim.messages is not None and claim.messages != found.messages:
        problems.add(Code.METADATA_COUNT_MISMATCH, _numbers(claim.messages, found.messages))
    _compare_topics(claim, topics, problems)
    if found.messages:
        _compare_times(claim, found, problems)


def compare_files(claim: Claim, messages: dict[str, int], problems: Problems) -> None:
    """Adds a problem for each file whose number of messages is claimed otherwise."""
    for name, count in messages.items():
        claimed = claim.file_messages.get(name, count)
        if claimed != count:
            problems.add(Code.METADATA_COUNT_MISMATCH, _numbers(claimed, count), file=name)


def _compare_topics(claim: Claim, topics: list[Topic], problems: Problems) -> None:
    found = {topic.name: topic for topic in topics}
    for name, (type_name, claimed) in claim.topics.items():
        topic = found.get(name)
        count = topic.count if topic else 0
        if claimed != count:
            problems.add(Code.METADATA_COUNT_MISMATCH, _numbers(claimed, count), topic=name[:200])
        if topic and spelled(type_name) != spelled(topic.type):
            message = f"it claims type {type_name[:200]!r}, the file says {topic.type[:200]!r}"
            problems.add(Code.METADATA_TYPE_MISMATCH, message, topic=name)
    for topic in topics:
        if claim.topics and topic.count and topic.name not in claim.topics:
            message = f"it does not name the topic, there are {topic.count} messages"
            problems.add(Code.METADATA_COUNT_MISMATCH, message, topic=topic.name)


def _numbers(claimed: int, found: int | None) -> str:
    return f"it claims {claimed} messages, there are {found}"


def _compare_times(claim: Claim, found: Extent, problems: Problems) -> None:
    if found.start_ns is None or found.end_ns is None:
        return
    for what, claimed, real in (
        ("start", claim.start_ns, found.start_ns),
        ("duration", claim.duration_ns, found.end_ns - found.start_ns),
    ):
        if claimed is not None and claimed != real:
            problems.add(Code.METADATA_TIME_MISMATCH, f"it claims a {what} of {claimed} ns, it is {real} ns")
