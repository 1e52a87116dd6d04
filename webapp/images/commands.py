"""What an image runs by itself: ENTRYPOINT and CMD of its configuration, as OCI and Docker have it. Used by the
resolver."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from shared.domain.specs import Argument, Command
from webapp.images.reference import DIGEST
from webapp.images.registry import STATE_COMMAND, Registry
from webapp.images.wire import Refused

MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
CONFIG_TYPES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_MOST_BYTES = 64 << 10  # of a command, which is kept and shown for each image of each version
_COMMAND = TypeAdapter[tuple[str, ...]](Command)


class _Part(BaseModel):
    """Of a document that somebody else wrote: what we do not know of it is passed over."""

    model_config = ConfigDict(strict=True)


class _Platform(_Part):
    os: str = ""
    architecture: str = ""


class _Descriptor(_Part):
    mediaType: str
    digest: Annotated[str, StringConstraints(pattern=f"^(?:{DIGEST})$")]
    platform: _Platform | None = None


class _Manifest(_Part):
    """Of one platform, with `config`, or of several, with `manifests`."""

    config: _Descriptor | None = None
    manifests: list[_Descriptor] | None = None


class _Settings(_Part):
    Entrypoint: list[Argument] | None = None
    Cmd: list[Argument] | None = None


class _Configuration(_Part):
    config: _Settings | None = None


Document = TypeVar("Document", bound=_Part)


def command_of(registry: Registry, digest: str) -> tuple[str, ...]:
    """ENTRYPOINT and then CMD of the image; of one for several platforms, those of linux/amd64 or else of its first.
    Refused, Silent."""
    manifest = _parsed(_Manifest, registry.manifest(digest))
    if manifest.manifests is not None and manifest.config is None:
        manifest = _parsed(_Manifest, registry.manifest(_of_platform(manifest.manifests)))
    if manifest.config is None or manifest.manifests is not None:
        raise _unknown("its manifest is none of a container image")
    if manifest.config.mediaType not in CONFIG_TYPES:
        raise _unknown(f"it is no container image but {manifest.config.mediaType[:200]!r}")
    said = _parsed(_Configuration, registry.blob(manifest.config.digest)).config or _Settings()
    words = [*(said.Entrypoint or ()), *(said.Cmd or ())]
    if not words:
        raise _unknown("it states neither ENTRYPOINT nor CMD")
    if sum(len(word.encode()) for word in words) > _MOST_BYTES:
        raise _unknown("its ENTRYPOINT and CMD have more than 64 KiB")
    try:
        return _COMMAND.validate_python(words)
    except ValidationError as error:
        raise _unknown(f"its ENTRYPOINT and CMD are no command: {error.errors()[0]['msg']}") from error


def _of_platform(manifests: list[_Descriptor]) -> str:
    """The digest of the one that is looked at. What a platform does not run, as attestations, states none."""
    linux = [(each.platform.architecture, each.digest) for each in manifests
             if each.platform is not None and each.platform.os == "linux" and each.mediaType in MANIFEST_TYPES]
    if not linux:
        raise _unknown("none of its manifests is of an image for Linux")
    return dict(reversed(linux)).get("amd64", linux[0][1])


def _parsed(kind: type[Document], content: bytes) -> Document:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        where = ".".join(map(str, wrong["loc"])) or "all of it"
        raise _unknown(f"it is not as OCI and Docker have it: {where[:200]}: {wrong['msg'][:200]}") from error


def _unknown(message: str) -> Refused:
    return Refused(message, STATE_COMMAND)
