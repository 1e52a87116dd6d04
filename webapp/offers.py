"""What to say after "there is no such …": what may have been meant. Called wherever a name is looked up."""

import difflib
from collections.abc import Iterable

MOST_OFFERED = 30


def meant(word: str, known: Iterable[str]) -> str:
    """The one that is near to the word, or else those that there are, as the end of a sentence; "" if there is none."""
    names = sorted(set(known))
    if near := difflib.get_close_matches(word[:100], names, n=1):
        return f"; did you mean {near[0]}?"
    if not names:
        return ""
    more = len(names) - MOST_OFFERED
    shown = [*names[:MOST_OFFERED], f"{more} more"] if more > 0 else names
    return f"; there {'is' if len(names) == 1 else 'are'} {listed(shown)}"


def listed(words: list[str], last: str = "and") -> str:
    """a, b and c."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)
