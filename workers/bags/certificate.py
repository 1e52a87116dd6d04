"""The certificate of a damaged recording: what was recovered, what is known to be lost. Used by facts."""

from workers.bags.limits import GAPS, INT64_MAX
from workers.bags.metadata import Claim
from workers.bags.scan import Scan
from workers.bags.shapes import Certificate, Comparison, Extent, Loss, Topic


def certify(
    scans: list[Scan | None], complete: bool, topics: list[Topic], claim: Claim | None, found: Extent
) -> Certificate:
    """`scans` are those of the counted files, None where one is no recording; `complete`: no listed file is missing."""
    known = [scan for scan in scans if scan]
    return Certificate(
        recovered=found.messages or 0,
        lost=_lost(known, complete and len(known) == len(scans), claim, found),
        by_topic={topic.name: Loss(topic.count, _lost_of(topic, known, claim)) for topic in topics},
        gaps=[gap for scan in known for gap in scan.gaps][:GAPS],
        clock_regressions=sum(scan.clock_regressions for scan in known),
        bytes_skipped=sum(scan.bytes_skipped for scan in known),
        metadata=Comparison(_claimed(claim), found),
    )


def _lost(scans: list[Scan], all_there: bool, claim: Claim | None, found: Extent) -> int | None:
    """By the files' own statistics where every damaged one has them, else by metadata.yaml."""
    damaged = [scan for scan in scans if scan.damaged]
    claims = [scan.claimed_messages for scan in damaged if scan.claimed_messages is not None]
    if all_there and len(claims) == len(damaged):
        return _bounded(sum(claims) - sum(scan.messages for scan in damaged))
    if claim and claim.messages is not None:
        return _bounded(claim.messages - (found.messages or 0))
    return None


def _lost_of(topic: Topic, scans: list[Scan], claim: Claim | None) -> int | None:
    damaged = [scan for scan in scans if scan.damaged]
    if damaged and all(topic.name in scan.claimed for scan in damaged):
        here = sum(found.count for scan in damaged for (name, _), found in scan.topics.items() if name == topic.name)
        return _bounded(sum(scan.claimed[topic.name] for scan in damaged) - here)
    if claim and topic.name in claim.topics:
        return _bounded(claim.topics[topic.name][1] - topic.count)
    return None


def _claimed(claim: Claim | None) -> Extent | None:
    if claim is None:
        return None
    start = claim.start_ns if claim.messages else None
    return Extent(claim.messages, start, claim.end_ns, len(claim.topics), len(claim.files))


def _bounded(lost: int) -> int:
    return max(0, min(lost, INT64_MAX))
