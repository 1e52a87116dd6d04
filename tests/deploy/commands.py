"""The shell commands of a page, word by word, and what they name."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.k8s.rendering import KUBECTL, ROOT

SEPARATORS = {"|", "&&", "||", ";", "(", ")"}
PLACEHOLDER = re.compile(r"[A-Z][A-Z-]*")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", page.read_text())


def commands(page: Path) -> Iterator[list[str]]:
    """Each simple command of its blocks of shell; one that cannot be taken apart is a ValueError."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            yield from _simple(line)


def _simple(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in lexer:
        if word in SEPARATORS:
            if words:
                yield words
            words = []
        elif set(word) <= set("<>"):
            skip = True  # of a file
        elif skip:
            skip = False
        else:
            words.append(word)
    if words:
        yield words


@cache
def kubectl_options(*verb: str) -> set[str]:
    """The long options of a kubectl command, those of all commands included."""
    told = [subprocess.run([KUBECTL, *each], capture_output=True, text=True, check=True).stdout
            for each in ((*verb, "--help"), ("options",))]
    assert "Usage:" in told[0] or not verb
    return set(re.findall(r"(?m)^\s+(?:-\w, )?--([\w-]+)", "\n".join(told)))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The files that it links to, and the headings in them."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            file, _, heading = target.partition("#")
            yield (page.parent / file if file else page).resolve(), heading


def headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    return {re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
            for line in page.read_text().splitlines() if line.startswith("#")}


def settings_named(page: Path) -> set[str]:
    """Names in blocks of settings, and those that commands set."""
    text = "\n".join(blocks(page, "ini"))
    named = set(re.findall(r"(?m)^([A-Z_]+)=", text))
    return named | {word.split("=")[0] for command in commands(page) for word in command
                    if re.fullmatch(r"[A-Z]+(_[A-Z]+)+=.*", word)}


def exists(path: str) -> bool:
    return (ROOT / path).exists()
