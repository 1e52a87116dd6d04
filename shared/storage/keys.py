"""Where things lie in the bucket. Keys derive from what they belong to, so nothing has to be remembered."""

from uuid import UUID


def job_prefix(job: UUID) -> str:
    """All that the attempts of a job upload."""
    return f"attempts/{job}/"


def attempt_prefix(job: UUID, attempt: int) -> str:
    """All that an attempt uploads."""
    return f"{job_prefix(job)}{attempt}/"


def recorded_file(job: UUID, attempt: int, path: str) -> str:
    """A file below the attempt's output folder; `path` is relative, without dot segments."""
    return f"{attempt_prefix(job, attempt)}output/{path}"


def derived_file(job: UUID, attempt: int, path: str) -> str:
    """Something that a recorder or ingester made of a recording: an index, a rebuilt metadata.yaml."""
    return f"{attempt_prefix(job, attempt)}derived/{path}"


def upload_prefix(bundle: UUID) -> str:
    """All that is uploaded of a bundle."""
    return f"uploads/{bundle}/"


def uploaded_file(bundle: UUID, place: int) -> str:
    """The file of an uploaded bundle, by its place among those announced: its name is not ours."""
    return f"{upload_prefix(bundle)}{place}"


def log(job: UUID, attempt: int) -> str:
    """The attempt's whole log."""
    return f"{attempt_prefix(job, attempt)}log.txt"
