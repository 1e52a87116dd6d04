"""References of images: the grammar of the distribution project, as a table and as laws."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.images import A, B
from webapp.images.reference import Allowed, NotAReference, Reference, is_digest

SHA512 = f"sha512:{'d' * 128}"


@pytest.mark.parametrize(("text", "expected"), [
    ("robot", ("docker.io", "library/robot", None, None)),
    ("robot:1", ("docker.io", "library/robot", "1", None)),
    ("us/robot", ("docker.io", "us/robot", None, None)),
    ("docker.io/robot", ("docker.io", "library/robot", None, None)),
    ("docker.io/us/robot", ("docker.io", "us/robot", None, None)),
    ("index.docker.io/robot:1", ("docker.io", "library/robot", "1", None)),
    ("ghcr.io/us/robot:1.4", ("ghcr.io", "us/robot", "1.4", None)),
    ("ghcr.io/robot", ("ghcr.io", "robot", None, None)),
    ("localhost/robot", ("localhost", "robot", None, None)),
    ("localhost:5000/us/robot:v1", ("localhost:5000", "us/robot", "v1", None)),
    ("registry:5000/robot", ("registry:5000", "robot", None, None)),
    ("registry/robot", ("docker.io", "registry/robot", None, None)),
    ("Registry/robot", ("Registry", "robot", None, None)),
    ("10.0.0.1/robot", ("10.0.0.1", "robot", None, None)),
    ("[2001:db8::1]:5000/robot", ("[2001:db8::1]:5000", "robot", None, None)),
    ("a.b/c/d/e/f:_x", ("a.b", "c/d/e/f", "_x", None)),
    ("a__b/c.d/e--f", ("docker.io", "a__b/c.d/e--f", None, None)),
    (f"robot@{A}", ("docker.io", "library/robot", None, A)),
    (f"ghcr.io/us/robot:1.4@{A}", ("ghcr.io", "us/robot", "1.4", A)),
    (f"ghcr.io/us/robot@{SHA512}", ("ghcr.io", "us/robot", None, SHA512)),
    ("robot:5000", ("docker.io", "library/robot", "5000", None)),
    (f"a.b/{'c' * 255}", ("a.b", "c" * 255, None, None)),
])
def test_a_reference_is_taken_apart_as_nodes_do_it(
        text: str, expected: tuple[str, str, str | None, str | None]) -> None:
    found = Reference.parse(text)
    assert (found.host, found.path, found.tag, found.digest) == expected


@pytest.mark.parametrize("text", [
    "", " robot", "robot ", "robot\n", "Robot", "us/Robot", "robot:", "robot:.1", f"robot:{'1' * 129}", "robot@",
    "/robot", "robot/", "a//b", "https://ghcr.io/robot", "user@ghcr.io/robot", "ghcr.io:x/robot", "-a.b/robot", "a___b",
    "a..b",
    "_robot", "robot@sha256:abc", f"robot@{A.upper()}", f"robot@md5:{'a' * 32}", "a" * 64, f"a.b/{'c' * 256}",
    "a" * 256, "robot?x=1", "robot#x", "../robot", "a.b/../robot", "röbot", "robot:1:2", "127.0.0.1:80@evil.com/x",
])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(NotAReference):
        Reference.parse(text)


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.builds(lambda labels, port: ".".join(labels) + port, st.lists(LABELS, min_size=2, max_size=4),
                  st.sampled_from(["", ":5000"]))
PATHS = st.lists(st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True), min_size=1,
                 max_size=4).map("/".join)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
REFERENCES = st.builds(Reference, HOSTS.filter(lambda host: not host.endswith("docker.io")), PATHS,
                       st.none() | TAGS, st.none() | st.sampled_from([A, SHA512]))


@given(REFERENCES)
def test_what_is_written_in_full_is_read_as_it_was_meant(reference: Reference) -> None:
    assert Reference.parse(f"{reference.host}/{reference.rest}") == reference


@given(REFERENCES, st.sampled_from([A, B]))
def test_a_pinned_image_is_of_that_repository_and_digest(reference: Reference, digest: str) -> None:
    pinned = Reference.parse(reference.pinned(digest))
    assert pinned == Reference(reference.host, reference.path, None, digest)
    assert pinned.pinned(digest) == reference.pinned(digest)


@given(st.text(max_size=80) | st.from_regex(r"[a-zA-Z0-9.:/@_\-\[\]]{1,60}", fullmatch=True))
@example("a.b/c:d@sha256:" + "0" * 64)
def test_any_text_is_a_reference_of_plain_parts_or_none(text: str) -> None:
    try:
        found = Reference.parse(text)
    except NotAReference:
        return
    assert re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", found.host) and re.fullmatch(r"[a-z0-9._/-]+", found.path)
    assert not found.path.startswith(("/", ".")) and ".." not in found.path and "//" not in found.path
    assert Reference.parse(f"{found.host}/{found.rest}") == found


@given(st.text(max_size=80))
@example(f"{A}\n")
def test_digests_are_those_that_nodes_take(text: str) -> None:
    assert is_digest(A) and is_digest(SHA512)
    assert not is_digest(text)


# -- what is allowed ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("patterns", "image", "expected"), [
    ([], "anything/at:all", True),
    (["*"], "registry.local:5000/x", True),
    (["ghcr.io/us/*"], "ghcr.io/us/robot:1", True),
    (["ghcr.io/us/*"], f"ghcr.io/us/robot@{A}", True),
    (["ghcr.io/us/*"], "ghcr.io/usurpers/robot:1", False),
    (["ghcr.io/us/*"], "ghcr.io.evil.com/us/robot:1", False),
    (["robot:*"], "robot:1", True),
    (["robot:*"], "docker.io/library/robot:1", True),
    (["robot:*"], "robot:5000/evil/x", False),
    (["robot:*"], "evil.com/robot:1", False),
    (["docker.io/*"], "us/robot", True),
    (["docker.io/*"], "robot", True),
    (["docker.io/library/*"], "us/robot", False),
    (["us/*"], "us/robot:1", True),
    (["us/*"], "us.evil.com/robot", False),
    (["ghcr.io*"], "ghcr.io.evil.com/x", False),
    (["*.example.com/*"], "a.example.com/robot", True),
    (["*.example.com/*"], "evil.com/a.example.com/robot", False),
    (["registry:5000/*"], "registry:5000/a/b:1", True),
    (["ghcr.io/us/*"], "no reference", False),
    (["ghcr.io/us/robot"], "ghcr.io/us/robot:2", False),
    (["a/b", "ghcr.io/us/robot:*"], "ghcr.io/us/robot:2", True),
])
def test_host_and_rest_are_held_against_the_patterns_each_by_itself(
        patterns: list[str], image: str, expected: bool) -> None:
    assert Allowed.of(patterns).allows(image) is expected


def test_a_host_is_named_by_a_pattern_without_wildcards_in_it() -> None:
    allowed = Allowed.of(["registry.local:5000/*", "*.example.com/*", "*", "robot:*"])
    named = ["registry.local:5000", "docker.io"]
    tried = [*named, "registry.local", "a.example.com", "*.example.com", "*", "robot:5000", "127.0.0.1"]
    assert [host for host in tried if allowed.names(host)] == named
