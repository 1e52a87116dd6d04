"""Why the stack does not start, and what a probe says while a part is not ready; shown to people as one line."""


class StartFailed(Exception):
    """One part cannot be started: its name, what is the matter, and what to do about it."""

    def __init__(self, part: str, what: str, remedy: str) -> None:
        super().__init__(f"{part}: {one_line(what)}; {remedy}")


class NotReady(Exception):
    """A part does not answer as it should yet; the text says what was seen last."""


def one_line(error: object) -> str:
    """The first line that says something, of at most 300 characters and without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(". ")
