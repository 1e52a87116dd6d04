"""What images run by themselves is read from a real registry over HTTP: a good one, and every kind of bad one."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from shared.domain.errors import InvalidSpec, Unavailable
from tests.images import CERTIFICATE, DOCKER, KINDS, OCI, A, ImageRegistry, dribbles, never, says, serving
from tests.webapp.images.test_resolver import basic, logins, resolver
from webapp.images.resolver import Image

INDEX = "application/vnd.oci.image.index.v1+json"
ATTESTATION = {"os": "unknown", "architecture": "unknown"}


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    with serving(ImageRegistry()) as registry:
        yield registry


def command(registry: ImageRegistry, image: str = "us/robot:1", **settings: Any) -> tuple[str, ...] | None:
    """What the image runs, which stands in the field `image`."""
    name = f"{registry.host}/{image}"
    return resolver(registry, **settings).resolve({"image": name}, commandless={"image"})[name].command


def refused(registry: ImageRegistry, image: str = "us/robot:1", **settings: Any) -> str:
    """Why that cannot be told."""
    with pytest.raises(InvalidSpec) as caught:
        command(registry, image, **settings)
    assert (caught.value.code, caught.value.remedy) == ("image_unresolved", "state command")
    [error] = caught.value.errors
    assert error.field == "image" and error.message.startswith("what it runs cannot be told: ")
    return error.message


def index(registry: ImageRegistry, *platforms: dict[str, str] | None, kind: str = OCI) -> dict[str, Any]:
    """Of images that run the name of their platform."""
    manifests = []
    for platform in platforms:
        name = "none" if platform is None else platform["architecture"]
        digest = registry.keep(registry.image(kind=kind, Entrypoint=[name]))
        manifests.append({"mediaType": KINDS[kind][0], "digest": digest, "size": len(registry.contents[digest])}
                         | ({} if platform is None else {"platform": platform}))
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}


def linux(*architectures: str) -> list[dict[str, str]]:
    return [{"os": "linux", "architecture": each} for each in architectures]


# -- a good one -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", [OCI, DOCKER])
@pytest.mark.parametrize(("fields", "expected"), [
    ({"Entrypoint": ["/go", "-a"], "Cmd": ["b c", ""]}, ("/go", "-a", "b c", "")),
    ({"Entrypoint": ["/go"]}, ("/go",)), ({"Entrypoint": ["/go"], "Cmd": None}, ("/go",)),
    ({"Entrypoint": None, "Cmd": ["sh", "-c", "echo $HOME"]}, ("sh", "-c", "echo $HOME")),
    ({"Entrypoint": [], "Cmd": ["sh"], "Env": ["A=1"], "WorkingDir": "/x"}, ("sh",))])
def test_an_image_runs_its_entrypoint_with_its_cmd(
        registry: ImageRegistry, kind: str, fields: dict[str, Any], expected: tuple[str, ...]) -> None:
    digest = registry.push("us/robot:1", registry.image(kind=kind, **fields))
    image = f"{registry.host}/us/robot:1"
    assert resolver(registry).resolve({"image": image}, commandless={"image"}) == {image: Image(digest, expected)}
    assert [(each.method, each.path.partition("sha256:")[0]) for each in registry.asked] == [
        ("HEAD", "/v2/us/robot/manifests/1"), ("GET", "/v2/us/robot/manifests/"), ("GET", "/v2/us/robot/blobs/")]


def test_a_command_may_be_as_long_as_one_that_is_stated(registry: ImageRegistry) -> None:
    words = ["x" * 4096] * 16
    registry.push("us/robot:1", registry.image(Entrypoint=words[:1], Cmd=words[1:]))
    assert command(registry) == tuple(words)


def test_of_an_image_that_is_stated_by_digest_only_what_it_runs_is_asked(registry: ImageRegistry) -> None:
    digest = registry.keep(registry.image(Cmd=["go"]))
    assert command(registry, f"us/robot:old@{digest}") == ("go",)
    assert registry.asked[0].path == f"/v2/us/robot/manifests/{digest}"


def test_nobody_is_asked_for_what_is_known_or_stated(registry: ImageRegistry) -> None:
    name = f"{registry.host}/us/robot:1"
    known = {name: Image(A, ("go",))}
    assert resolver(registry).resolve({"image": name}, known, commandless={"image"}) == known
    assert resolver(registry).resolve({"image": f"{name}@{A}"}) == {f"{name}@{A}": Image(A)}
    off = resolver(registry, resolve_images=False).resolve({"image": f"{name}@{A}"}, commandless={"image"})
    assert off == {f"{name}@{A}": Image(A)}
    assert registry.asked == []


def test_what_is_known_of_an_image_is_completed_by_what_it_runs(registry: ImageRegistry) -> None:
    name, digest = f"{registry.host}/us/robot:1", registry.keep(registry.image(Cmd=["go"]))
    found = resolver(registry).resolve({"image": name}, {name: Image(digest)}, commandless={"image"})
    assert found == {name: Image(digest, ("go",))}


def test_an_image_in_two_places_is_asked_for_once(registry: ImageRegistry) -> None:
    name, digest = f"{registry.host}/us/robot:1", registry.push("us/robot:1", registry.image(Cmd=["go"]))
    found = resolver(registry).resolve({"image": name, "containers.0.image": name}, commandless={"containers.0.image"})
    assert (found, len(registry.asked)) == ({name: Image(digest, ("go",))}, 3)


@pytest.mark.parametrize(("platforms", "expected"), [
    (linux("arm64", "amd64", "s390x"), "amd64"), (linux("arm64", "riscv64"), "arm64"),
    ([None, ATTESTATION, {"os": "windows", "architecture": "amd64"}, *linux("arm64")], "arm64")])
@pytest.mark.parametrize("kind", [OCI, DOCKER])
def test_of_several_platforms_that_of_most_nodes_counts(
        registry: ImageRegistry, platforms: list[Any], expected: str, kind: str) -> None:
    registry.push("us/robot:1", index(registry, *platforms, kind=kind))
    assert command(registry) == (expected,)


@pytest.mark.parametrize("with_token", [True, False])
def test_one_login_serves_for_all_that_is_asked(registry: ImageRegistry, tmp_path: Path, with_token: bool) -> None:
    registry.login = "us:secret"
    registry.realm = f"http://{registry.host}/token" if with_token else None
    registry.push("us/robot:1", index(registry, *linux("amd64")))
    file = logins(tmp_path, **{registry.host: {"auth": basic("us:secret")}})
    assert command(registry, registry_credentials=file) == ("amd64",)
    assert len([each for each in registry.asked if "Authorization" not in each.headers]) == 1
    assert len([each for each in registry.asked if each.path.startswith("/token")]) == with_token


# -- bad contents ---------------------------------------------------------------------------------------------------

def of(**fields: Any) -> bytes:
    return json.dumps({"config": fields}).encode()


@pytest.mark.parametrize(("config", "message"), [
    (of(), "neither ENTRYPOINT nor CMD"), (of(Entrypoint=[], Cmd=[]), "neither ENTRYPOINT nor CMD"),
    (b"{}", "neither ENTRYPOINT nor CMD"), (b'{"config": null}', "neither ENTRYPOINT nor CMD"),
    (of(Entrypoint="/bin/sh -c x"), "config.Entrypoint"), (of(Cmd={"0": "sh"}), "config.Cmd"),
    (of(Cmd=["sh", 7]), "config.Cmd.1"), (of(Cmd=[None]), "config.Cmd.0"), (of(Cmd=[["sh"]]), "config.Cmd.0"),
    (of(Cmd=["s\0h"]), "config.Cmd.0"), (b'{"config": {"Cmd": ["\\ud800"]}}', "all of it"),
    (b'{"config": {"Cmd": ["\xff"]}}', "all of it"),
    (of(Cmd=["sh", "x" * 4097]), "config.Cmd.1"), (of(Cmd=["sh"] * 257), "are no command"),
    (of(Cmd=["sh", *["x" * 4096] * 16]), "more than 64 KiB"), (of(Entrypoint=[""], Cmd=["sh"]), "may not be empty"),
    (b"", "all of it"), (b"no json", "all of it"), (b"[]", "all of it"), (b"[" * 100_000, "all of it"),
    (b'{"config": 1}', "config"), (b'{"x": "' + b"x" * (1 << 20) + b'"}', "more than 1 MiB"),
    (of(Cmd=["x" * (1 << 20)]), "more than 1 MiB")], ids=lambda each: repr(each[:40]))
def test_a_configuration_that_states_no_command_is_told(
        registry: ImageRegistry, config: bytes, message: str) -> None:
    registry.push("us/robot:1", registry.image(config))
    assert message in refused(registry)


@pytest.mark.parametrize(("manifest", "message"), [
    (b"", "all of it"), (b"null", "all of it"), (b"{" * 9, "all of it"), (b"{}", "none of a container image"),
    ({"schemaVersion": 1, "fsLayers": [], "history": []}, "none of a container image"),
    ({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": A}}, "no container image but"),
    ({"config": {"mediaType": KINDS[OCI][1], "digest": "sha256:../../../../latest"}}, "config.digest"),
    ({"config": {"mediaType": KINDS[OCI][1], "digest": f"{A}\n"}}, "config.digest"),
    ({"config": {"mediaType": KINDS[OCI][1]}}, "config.digest"), ({"config": []}, "config"),
    ({"config": {"mediaType": KINDS[OCI][1], "digest": A}}, "answers 404"),
    ({"config": {"mediaType": KINDS[OCI][1], "digest": A}, "manifests": []}, "none of a container image"),
    ({"manifests": []}, "for Linux"), ({"manifests": 7}, "manifests"), ({"manifests": [None]}, "manifests.0"),
    ({"manifests": [{"mediaType": INDEX, "digest": A, "platform": linux("amd64")[0]}]}, "for Linux"),
    ({"manifests": [{"mediaType": KINDS[OCI][0], "digest": A, "platform": linux("amd64")[0]}]}, f"has no us/robot@{A}"),
    (b'{"x": "' + b"x" * (1 << 20) + b'"}', "more than 1 MiB")], ids=lambda each: repr(each)[:60])
def test_a_manifest_that_leads_nowhere_is_told(registry: ImageRegistry, manifest: Any, message: str) -> None:
    registry.push("us/robot:1", manifest)
    assert message in refused(registry)


def test_an_index_within_an_index_is_not_gone_into(registry: ImageRegistry) -> None:
    """Also one that says that it is a manifest, and names itself or the next without an end."""
    inner = registry.keep(index(registry, *linux("amd64")))
    outer = {"manifests": [{"mediaType": KINDS[OCI][0], "digest": inner, "platform": linux("amd64")[0]}]}
    registry.push("us/robot:1", outer)
    assert "none of a container image" in refused(registry)
    assert len(registry.asked) == 3


@pytest.mark.parametrize("which", ["manifest", "configuration"])
def test_what_is_not_of_its_digest_is_not_believed(registry: ImageRegistry, which: str) -> None:
    manifest = registry.image(Cmd=["go"])
    digest = registry.push("us/robot:1", manifest)
    other = json.dumps(registry.image(Cmd=["evil"]) if which == "manifest" else {"config": {"Cmd": ["evil"]}}).encode()
    registry.contents[digest if which == "manifest" else manifest["config"]["digest"]] = other
    assert "is something else" in refused(registry)


def test_a_digest_may_be_of_sha512(registry: ImageRegistry) -> None:
    config = b'{"config": {"Cmd": ["go"]}}'
    digest = f"sha512:{hashlib.sha512(config).hexdigest()}"
    registry.contents[digest] = config
    registry.push("us/robot:1", {"config": {"mediaType": KINDS[OCI][1], "digest": digest}})
    assert command(registry) == ("go",)


def test_of_an_answer_without_an_end_no_more_is_read_than_may_be(registry: ImageRegistry) -> None:
    sent = 0

    def send(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while sent < 1 << 30:
            sent += handler.connection.send(bytes(1 << 16))

    registry.bad = send
    assert "more than 1 MiB" in refused(registry, f"us/robot@{A}")
    assert sent < 64 << 20


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(A),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["config", "manifests", "digest", "mediaType", "platform", "Entrypoint", "Cmd",
                                         "os", "architecture"]), inner, max_size=4), max_leaves=12)


@how(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON, st.booleans())
def test_whatever_there_is_it_is_a_command_or_a_reason(registry: ImageRegistry, content: Any, within: bool) -> None:
    manifest = registry.image(json.dumps({"config": content}).encode()) if within else content
    registry.push("us/robot:1", manifest)
    try:
        found = command(registry)
    except InvalidSpec as refusal:
        assert refusal.errors[0].message
    else:
        assert found and found[0] and within


# -- where blobs lie ------------------------------------------------------------------------------------------------

def away(registry: ImageRegistry, location: str) -> str:
    """An image whose configuration is said to lie there; the digest of that."""
    manifest = registry.image(Cmd=["go"])
    registry.push("us/robot:1", manifest)
    digest: str = manifest["config"]["digest"]
    registry.places[digest] = location
    return digest


def test_a_blob_is_fetched_from_where_it_lies_and_nothing_is_shown_there(registry: ImageRegistry) -> None:
    registry.realm = f"http://{registry.host}/token"
    with serving(ImageRegistry()) as storage:
        storage.bad = says(200, b'{"config": {"Cmd": ["go"]}}')
        manifest = registry.image(b'{"config": {"Cmd": ["go"]}}')
        registry.push("us/robot:1", manifest)
        registry.places[manifest["config"]["digest"]] = f"http://{storage.host}/bucket/x?X-Amz-Signature=1#part"
        assert command(registry, insecure_registries=f"{registry.host},{storage.host}") == ("go",)
        [asked] = storage.asked
    assert (asked.method, asked.path) == ("GET", "/bucket/x?X-Amz-Signature=1")
    assert "Authorization" not in asked.headers and asked.headers["Host"] == storage.host


def test_within_the_registry_its_own_token_is_shown_again(registry: ImageRegistry) -> None:
    registry.realm = f"http://{registry.host}/token"
    config = b'{"config": {"Cmd": ["go"]}}'
    manifest = registry.image(config)
    registry.push("us/robot:1", manifest)
    moved = registry.keep(config + b" ")
    registry.contents[moved] = config
    registry.places[manifest["config"]["digest"]] = f"/v2/us/robot/blobs/{moved}"
    assert command(registry) == ("go",)
    assert "Authorization" in registry.asked[-1].headers and registry.asked[-1].path == f"/v2/us/robot/blobs/{moved}"


def test_what_lies_elsewhere_is_held_against_its_digest_too(registry: ImageRegistry) -> None:
    with serving(ImageRegistry(bad=says(200, b'{"config": {"Cmd": ["evil"]}}'))) as storage:
        away(registry, f"http://{storage.host}/x")
        assert "is something else" in refused(registry, insecure_registries=f"{registry.host},{storage.host}")


@pytest.mark.parametrize("location", [
    "http://169.254.169.254/latest/meta-data", "http://localhost/x", "http://93.184.215.14/x", "ftp://93.184.215.14/x",
    "file:///etc/passwd", "https://us@93.184.215.14/x", "https://", "http://[", "", "//evil\\@x", "gopher://x/"])
def test_a_blob_is_not_sought_where_nobody_may_be_asked(registry: ImageRegistry, location: str) -> None:
    away(registry, location)
    assert "where nothing is asked" in refused(registry)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254", "0x7f.1", "2130706433",
                                  "10.0.0.1"])
def test_a_blob_is_not_sought_at_an_address_that_is_not_public(registry: ImageRegistry, host: str) -> None:
    with serving(ImageRegistry(), tls=True) as storage:
        away(registry, f"https://{host}:{storage.host.partition(':')[2]}/x")
        assert "not public" in refused(registry)
        assert storage.asked == []


def test_an_inner_place_is_looked_into_only_where_the_operator_names_both(
        registry: ImageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with serving(ImageRegistry(), tls=True) as storage:
        digest = away(registry, f"https://{storage.host}/x")
        storage.bad = says(200, registry.contents[digest])
        assert "not public" in refused(registry, allowed_images="*")
        assert storage.asked == []
        assert command(registry, allowed_images=f"{storage.host}/*") == ("go",)


def test_a_chain_of_redirects_comes_to_an_end(registry: ImageRegistry) -> None:
    digest = away(registry, "?")
    registry.places[digest] = f"/v2/us/robot/blobs/{digest}"  # for ever
    assert "answers 307" in refused(registry)
    assert [each.path for each in registry.asked].count(f"/v2/us/robot/blobs/{digest}") == 4


def test_a_manifest_is_not_sought_elsewhere(registry: ImageRegistry) -> None:
    with serving(ImageRegistry()) as other:
        digest = registry.push("us/robot:1", registry.image(Cmd=["go"]))
        registry.places[digest] = f"http://{other.host}/x"
        assert "sends elsewhere" in refused(registry, insecure_registries=f"{registry.host},{other.host}")
        assert other.asked == []


@pytest.mark.parametrize("status", [401, 403, 404, 410, 206, 204])
def test_a_place_that_does_not_have_it_is_told(registry: ImageRegistry, status: int) -> None:
    with serving(ImageRegistry(bad=says(status))) as storage:
        away(registry, f"http://{storage.host}/x")
        assert str(status) in refused(registry, insecure_registries=f"{registry.host},{storage.host}")


@pytest.mark.parametrize("way", [lambda _: says(503), lambda _: says(429), never, dribbles])
def test_a_place_that_is_not_well_may_be_asked_again(registry: ImageRegistry, way: Any) -> None:
    with serving(ImageRegistry()) as storage:
        storage.bad = way(storage)
        away(registry, f"http://{storage.host}/x")
        with pytest.raises(Unavailable) as caught:
            name = f"{registry.host}/us/robot:1"
            resolver(registry, 0.5, insecure_registries=f"{registry.host},{storage.host}").resolve(
                {"image": name}, commandless={"image"})
    assert caught.value.code == "registry_unavailable" and "its command" in str(caught.value.remedy)
