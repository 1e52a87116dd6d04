"""Where things lie in the bucket. Keys derive from what they belong to, so nothing has to be remembered."""

from uuid import UUID


def attempt_prefix(job: UUID, attempt: int) -> str:
    """All that an attempt uploads."""
    return f"attempts/{job}/{attempt}/"


def recorded_file(job: UUID, attempt: int, path: str) -> str:
    """A file below the attempt's output folder; `path` is relative, without dot segments."""
    return f"{attempt_prefix(job, attempt)}output/{path}"


def log(job: UUID, attempt: int) -> str:
    """The attempt's whole log."""
    return f"{attempt_prefix(job, attempt)}log.txt"
