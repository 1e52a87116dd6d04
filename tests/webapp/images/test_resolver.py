"""Images are resolved against a real registry over HTTP: a good one, and every kind of bad one."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.domain.errors import InvalidSpec, Unavailable
from tests.images import CERTIFICATE, A, B, ImageRegistry, dribbles, never, says, sends, serving
from tests.webapp.web import make_settings
from webapp.images.registry import MANIFESTS, is_of_one_house
from webapp.images.resolver import Image, Resolver


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    with serving(ImageRegistry({"us/robot:1": A, "us/robot:latest": B})) as registry:
        yield registry


def resolver(registry: ImageRegistry | None = None, seconds: float = 8.0, **settings: Any) -> Resolver:
    insecure = {} if registry is None else {"insecure_registries": registry.host}
    return Resolver(make_settings(**{"runtime": "kubernetes"} | insecure | settings), seconds)


def refused(registry: ImageRegistry, image: str = "us/robot:1", **settings: Any) -> InvalidSpec:
    """Why the image, which stands in the field `image`, is not resolved."""
    with pytest.raises(InvalidSpec) as caught:
        resolver(registry, **settings).resolve({"image": f"{registry.host}/{image}"})
    assert caught.value.code == "image_unresolved" and caught.value.remedy
    assert [error.field for error in caught.value.errors] == ["image"]
    return caught.value


def silent(registry: ImageRegistry, **settings: Any) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        resolver(registry, **settings).resolve({"image": f"{registry.host}/us/robot:1"})
    assert caught.value.code == "registry_unavailable" and caught.value.remedy
    assert [error.field for error in caught.value.errors] == ["image"]
    return caught.value


# -- a good one -----------------------------------------------------------------------------------------------------

def test_a_tag_is_what_the_registry_has_behind_it(registry: ImageRegistry) -> None:
    image, newest = f"{registry.host}/us/robot:1", f"{registry.host}/us/robot"
    found = resolver(registry).resolve({"image": image, "containers.0.image": newest, "containers.1.image": image})
    assert found == {image: Image(A), newest: Image(B)}
    assert [(each.method, each.path, each.headers["Accept"]) for each in registry.asked] == [
        ("HEAD", "/v2/us/robot/manifests/1", MANIFESTS), ("HEAD", "/v2/us/robot/manifests/latest", MANIFESTS)]


def test_what_is_stated_by_digest_or_known_is_not_asked_for(registry: ImageRegistry) -> None:
    stated, known = f"{registry.host}/us/robot:1@{B}", f"{registry.host}/us/robot:1"
    assert resolver(registry).resolve({"image": stated, "containers.0.image": known}, {known: Image(B)}) == {
        stated: Image(B), known: Image(B)}
    assert registry.asked == []


@pytest.mark.parametrize("settings", [{"resolve_images": False}, {"runtime": "local"}])
def test_where_nothing_is_resolved_nobody_is_asked(registry: ImageRegistry, settings: dict[str, Any]) -> None:
    stated, tag = f"robot@{A}", f"{registry.host}/us/robot:1"
    assert resolver(registry, **settings).resolve({"image": stated, "containers.0.image": tag}) == {stated: Image(A)}
    assert registry.asked == []


def test_what_is_no_reference_is_named_by_its_field() -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolver(runtime="local").resolve({"image": "Robot", "containers.1.image": "", "containers.2.image": "robot:1"})
    assert [error.field for error in caught.value.errors] == ["image", "containers.1.image"]


def test_every_image_that_is_not_there_is_named(registry: ImageRegistry) -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolver(registry).resolve({"image": f"{registry.host}/us/robot:1", "containers.0.image":
                                    f"{registry.host}/us/robot:2", "containers.1.image": f"{registry.host}/x"})
    assert [(error.field, error.message) for error in caught.value.errors] == [
        ("containers.0.image", f"{registry.host} has no us/robot:2"),
        ("containers.1.image", f"{registry.host} has no x:latest")]


# -- tokens and logins ----------------------------------------------------------------------------------------------

def logins(folder: Path, **auths: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({"auths": auths}))
    return file


def basic(login: str) -> str:
    return base64.b64encode(login.encode()).decode()


def test_a_token_is_fetched_where_the_registry_says(registry: ImageRegistry) -> None:
    registry.realm = f"http://{registry.host}/token?a=1"
    image = f"{registry.host}/us/robot:1"
    assert resolver(registry).resolve({"image": image}) == {image: Image(A)}
    assert [each.path for each in registry.asked] == [
        "/v2/us/robot/manifests/1", "/token?a=1&service=tests&scope=repository%3Aus%2Frobot%3Apull",
        "/v2/us/robot/manifests/1"]
    assert "Authorization" not in registry.asked[1].headers


@pytest.mark.parametrize("with_token", [True, False])
def test_a_private_image_needs_the_operators_login(
        registry: ImageRegistry, tmp_path: Path, with_token: bool) -> None:
    registry.login, image = "us:secret", f"{registry.host}/us/robot:1"
    registry.realm = f"http://{registry.host}/token" if with_token else None
    assert "REGISTRY_CREDENTIALS" in str(refused(registry).remedy)
    wrong = logins(tmp_path, **{registry.host: {"auth": basic("us:guess")}})
    assert "(401)" in refused(registry, registry_credentials=wrong).errors[0].message
    right = logins(tmp_path, **{f"http://{registry.host}/v2/": {"username": "us", "password": "secret"}})
    assert resolver(registry, registry_credentials=right).resolve({"image": image}) == {image: Image(A)}


def test_of_several_logins_the_nearest_is_shown_and_to_others_none(registry: ImageRegistry, tmp_path: Path) -> None:
    registry.login, image = "us:secret", f"{registry.host}/us/robot:1"
    file = logins(tmp_path, **{
        registry.host: {"auth": basic("all:x")}, f"{registry.host}/us": {"auth": basic("us:secret")},
        f"{registry.host}/us/rob": {"auth": basic("no:x")}, "ghcr.io": {"auth": basic("gh:x")}})
    assert resolver(registry, registry_credentials=file).resolve({"image": image}) == {image: Image(A)}
    only_others = logins(tmp_path, **{"ghcr.io": {"auth": basic("us:secret")}})
    refused(registry, registry_credentials=only_others)
    assert [each.headers.get("Authorization") for each in registry.asked] == [
        None, f"Basic {basic('us:secret')}", None]


def test_a_login_of_docker_hub_is_found_by_the_name_that_docker_gives_it(tmp_path: Path) -> None:
    from webapp.images.credentials import login_of
    from webapp.images.reference import Reference

    file = logins(tmp_path, **{"https://index.docker.io/v1/": {"auth": "eDp5"}})
    assert login_of(file, Reference.parse("robot")) == "eDp5"
    assert login_of(file, Reference.parse("ghcr.io/robot")) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"auths": []}', '{"auths": {"a": 1}}', '{"auths": {"a": null}}'])
def test_a_file_of_logins_that_is_none_is_told(registry: ImageRegistry, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(Unavailable) as caught:
        resolver(registry, registry_credentials=file).resolve({"image": f"{registry.host}/us/robot:1"})
    assert caught.value.code == "registry_credentials" and registry.asked == []


def test_a_file_of_logins_that_is_not_there_stops_the_process_at_start(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        make_settings(registry_credentials=tmp_path / "none")


def test_no_token_is_asked_of_strangers(registry: ImageRegistry, tmp_path: Path) -> None:
    file = logins(tmp_path, **{registry.host: {"auth": basic("us:secret")}})
    with serving(ImageRegistry()) as other:
        for realm in (f"http://{other.host}/token", f"http://localhost:{other.host[10:]}/token", "https://evil.com/token",
                      f"http://us@{registry.host}/token", "file:///etc/passwd", "/token", "", "http://[", "https://"):
            registry.realm = realm or "?"
            assert "is not asked" in refused(registry, registry_credentials=file).errors[0].message
        assert other.asked == []


@pytest.mark.parametrize(("host", "registry", "expected"), [
    ("auth.docker.io", "docker.io", True), ("gitlab.com", "registry.gitlab.com", True),
    ("ghcr.io", "ghcr.io", True), ("login.example.com", "images.example.com", True),
    ("evildocker.io", "docker.io", False), ("io", "docker.io", False), ("quay.io", "docker.io", False),
    ("example.com.evil.com", "images.example.com", False), ("com", "example.com", False),
    ("10.0.0.2", "10.0.0.1", False), ("0.0.1", "10.0.0.1", False), ("other", "localhost", False),
    ("localhost", "localhost", True), ("", "localhost", False)])
def test_who_may_give_tokens_for_a_registry(host: str, registry: str, expected: bool) -> None:
    assert is_of_one_house(host, registry) is expected


@pytest.mark.parametrize("body", [
    b"", b"no json", b"[]", b"null", b"{}", b'{"token": ""}', b'{"token": 7}', b'{"token": "a\\nb: c"}',
    '{"token": "ö"}'.encode(), b"[" * 50_000, b'{"token": "' + b"a" * 70_000 + b'"}'],
    ids=lambda body: repr(body[:20]))
def test_what_is_no_token_is_not_shown(registry: ImageRegistry, body: bytes) -> None:
    registry.realm = f"http://{registry.host}/token"
    show = registry.answer

    def answer(handler: BaseHTTPRequestHandler) -> None:
        registry.bad = says(200, body) if handler.path.startswith("/token") else None
        show(handler)

    registry.answer = answer  # type: ignore[method-assign]
    assert "gives no token" in refused(registry).errors[0].message
    assert len(registry.asked) == 2


# -- bad ones -------------------------------------------------------------------------------------------------------

Bad = Callable[[BaseHTTPRequestHandler], None]


@pytest.mark.parametrize(("bad", "message"), [
    (says(401), "does not show"), (says(403), "does not show"), (says(404), "has no us/robot:1"),
    (says(401, WWW_Authenticate="Negotiate"), "does not show"), (says(401, WWW_Authenticate="?"), "does not show"),
    (says(401, WWW_Authenticate='Basic realm="x"'), "does not show"),
    (says(401, WWW_Authenticate="Bearer"), "wants a token"),
    (says(200), "does not tell the digest"),
    (says(200, Docker_Content_Digest="sha256:abc"), "does not tell the digest"),
    (says(200, Docker_Content_Digest=f"{A}, {B}"), "does not tell the digest"),
    (says(200, Docker_Content_Digest=A.upper()), "does not tell the digest"),
    (says(204), "answers 204"), (says(418), "answers 418"),
    (says(307, Location="http://169.254.169.254/latest"), "sends elsewhere"), (says(301), "sends elsewhere"),
    (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not answer as a registry does"),
    (sends(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000), "does not answer as a registry does"),
    (sends(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200), "does not answer as a registry does"),
    (sends(b"HTTP/1.1 x y\r\n\r\n"), "does not answer as a registry does")])
def test_a_registry_that_does_not_tell_is_named_with_what_it_said(
        registry: ImageRegistry, bad: Bad, message: str) -> None:
    registry.bad = bad
    assert message in refused(registry).errors[0].message


@pytest.mark.parametrize("bad", [says(500), says(503), says(429), sends(b"")])
def test_one_that_is_not_well_may_be_asked_again(registry: ImageRegistry, bad: Bad) -> None:
    registry.bad = bad
    silent(registry)


def test_a_redirect_is_not_followed(registry: ImageRegistry) -> None:
    with serving(ImageRegistry({"us/robot:1": B})) as other:
        registry.bad = says(307, Location=f"http://{other.host}/v2/us/robot/manifests/1")
        refused(registry, insecure_registries=f"{registry.host},{other.host}")
        assert (len(registry.asked), other.asked) == (1, [])


@pytest.mark.parametrize("way", [never, dribbles])
def test_one_that_never_comes_to_an_end_is_left(registry: ImageRegistry, way: Callable[[ImageRegistry], Bad]) -> None:
    """Nothing but the limit ends it: the registry goes on until the test is over."""
    registry.bad = way(registry)
    with pytest.raises(Unavailable) as caught:
        resolver(registry, seconds=0.3).resolve({"image": f"{registry.host}/us/robot:1"})
    assert "too long" in caught.value.detail or "timed out" in caught.value.detail


def test_the_time_is_one_for_all_images_of_a_body(registry: ImageRegistry) -> None:
    registry.bad = never(registry)
    with pytest.raises(Unavailable) as caught:
        resolver(registry, seconds=0.3).resolve({"image": f"{registry.host}/a", "containers.0.image":
                                                 f"{registry.host}/b"})
    assert [error.field for error in caught.value.errors] == ["image"]
    assert len(registry.asked) == 1


def test_where_nobody_listens_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    silent(ImageRegistry(host=host))


@how(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200) | st.binary(max_size=100).map(lambda more: b"HTTP/1.1 200 OK\r\n" + more)
       | st.builds(lambda status, name, value: b"HTTP/1.1 %d x\r\n%s: %s\r\n\r\n" % (status, name, value),
                   st.integers(0, 999), st.sampled_from([b"Docker-Content-Digest", b"WWW-Authenticate", b"Location"]),
                   st.binary(max_size=60).filter(lambda value: b"\n" not in value)))
def test_whatever_is_sent_there_is_a_digest_or_a_reason(registry: ImageRegistry, raw: bytes) -> None:
    registry.bad = sends(raw)
    with pytest.raises((InvalidSpec, Unavailable)):
        resolver(registry).resolve({"image": f"{registry.host}/us/robot:1"})


# -- where it may be ------------------------------------------------------------------------------------------------

def test_a_registry_inside_is_asked_only_where_the_operator_names_it(registry: ImageRegistry) -> None:
    private = "has an address that is not public"
    for allowed in ("", "*", "127.0.0.*/*", f"{registry.host[:-1]}?/*"):
        told = refused(registry, insecure_registries="", allowed_images=allowed)
        assert private in told.errors[0].message and "ALLOWED_IMAGES" in str(told.remedy)
    named = refused(registry, insecure_registries="", allowed_images=f"{registry.host}/*")
    assert "does not speak TLS" in named.errors[0].message and "INSECURE_REGISTRIES" in str(named.remedy)
    assert registry.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433.", "127.0.0.1.", "[::1]",
                                  "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_no_spelling_of_this_machine_is_asked(registry: ImageRegistry, host: str) -> None:
    image = f"{host}:{registry.host.partition(':')[2]}/us/robot:1"
    with pytest.raises((InvalidSpec, Unavailable)):
        resolver(registry, insecure_registries="").resolve({"image": image})
    assert registry.asked == []


def test_a_name_that_means_an_inner_address_is_not_asked(
        registry: ImageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address of several is enough, and what was looked at is what is connected to."""
    port = int(registry.host.partition(":")[2])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("93.184.215.14", "127.0.0.1")])
    with pytest.raises(InvalidSpec) as caught:
        resolver(registry, insecure_registries="").resolve({"image": f"evil.example.com:{port}/us/robot:1"})
    assert "not public" in caught.value.errors[0].message
    assert registry.asked == []


@pytest.mark.parametrize("image", ["a.invalid/robot", f"{'a' * 64}.com/robot", "a.b:99999/robot"])
def test_a_host_that_cannot_be_is_told(image: str) -> None:
    with pytest.raises((InvalidSpec, Unavailable)) as caught:
        resolver().resolve({"image": image})
    assert [error.field for error in caught.value.errors] == ["image"]


def test_its_certificate_has_to_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ImageRegistry({"us/robot:1": A}), tls=True) as registry:
        settings = {"insecure_registries": "", "allowed_images": f"{registry.host}/*"}
        told = refused(registry, **settings)
        assert "not trusted" in told.errors[0].message and "SSL_CERT_FILE" in str(told.remedy)
        assert registry.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        registry.realm = f"https://{registry.host}/token"
        image = f"{registry.host}/us/robot:1"
        assert resolver(**settings).resolve({"image": image}) == {image: Image(A)}


# -- settings -------------------------------------------------------------------------------------------------------

def test_the_image_of_commands_states_a_digest_where_tags_are_resolved() -> None:
    with pytest.raises(ValidationError, match="COMMAND_IMAGE must state a digest"):
        make_settings(runtime="kubernetes", command_image="reference:1")
    make_settings(runtime="kubernetes", command_image=f"reference@{A}")
    make_settings(runtime="kubernetes", command_image="reference:1", resolve_images=False)
