"""Resolves the images that somebody states, once, to what they are now. Called by the views that make templates, by
submissions and by install, outside of any transaction."""

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from shared.domain.errors import FieldError, InvalidSpec, Unavailable
from shared.settings import WebSettings
from webapp.images.commands import command_of
from webapp.images.credentials import login_of
from webapp.images.reference import Allowed, NotAReference, Reference
from webapp.images.registry import STATE_COMMAND, Registry, Trust
from webapp.images.wire import Refused, Silent, Wire

SECONDS = 8.0  # for all images of one body

T = TypeVar("T")


@dataclass(frozen=True)
class Image:
    """What an image is: its digest, and what it runs by itself, None where nobody needed to know or could look."""

    digest: str
    command: tuple[str, ...] | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Image":
        """The one that was stored."""
        return cls(stored["digest"], None if stored["command"] is None else tuple(stored["command"]))

    def stored(self) -> dict[str, Any]:
        """As the database keeps it."""
        return {"digest": self.digest, "command": None if self.command is None else list(self.command)}


Images = Mapping[str, Image]  # as each was stated


class Resolver:
    """Asks the registries of images that ALLOWED_IMAGES allows; whoever calls has seen to that."""

    def __init__(self, settings: WebSettings, seconds: float = SECONDS) -> None:
        self._settings, self._seconds = settings, seconds
        insecure, allowed = settings.insecure_hosts, Allowed.of(settings.image_patterns)
        self._trust = Trust(lambda host: host in insecure or allowed.names(host), lambda host: host in insecure)

    def resolve(self, images: Mapping[str, str], known: Images | None = None, *,
                commandless: Collection[str] = ()) -> dict[str, Image]:
        """What these images are, which stand by the names of their fields; those of `commandless` fields with what they
        run. What is `known` is not asked for again, nor is a digest that is stated, but for what it runs.

        Where RESOLVE_IMAGES is off nothing is asked: what no digest is stated of is left out then.
        InvalidSpec names the fields that are wrong, Unavailable those whose registry does not answer."""
        references = _parsed(images)
        found = {image: Image(reference.digest) for image, reference in references.items() if reference.digest}
        found |= {image: each for image, each in (known or {}).items() if image in references}
        if self._settings.resolves_images:
            running = {images[field] for field in commandless}
            asked = {image: reference for image, reference in references.items()
                     if image not in found or (image in running and found[image].command is None)}
            found |= self._ask(asked, images, found, running) if asked else {}
        return found

    def _ask(self, references: Mapping[str, Reference], images: Mapping[str, str], known: Images,
             running: Collection[str]) -> dict[str, Image]:
        wire, found, refused = Wire(self._seconds), dict[str, Image](), dict[str, Refused]()
        for image, reference in references.items():
            login = login_of(self._settings.registry_credentials, reference)
            registry = Registry(wire, reference, self._trust, login)
            digest = known[image].digest if image in known else None
            try:
                found[image] = _in_time(wire, partial(_look, registry, digest, runs=image in running))
            except Refused as refusal:
                refused[image] = refusal
            except Silent as silence:
                raise Unavailable(
                    f"the image {image} cannot be resolved: {silence}", code="registry_unavailable",
                    errors=[FieldError(field, str(silence)) for field, each in images.items() if each == image],
                    remedy="try again in a moment, or state the image by its digest, and its command") from silence
        if refused:
            raise _unresolved(refused, images)
        return found


def _look(registry: Registry, digest: str | None, *, runs: bool) -> Image:
    digest = digest or registry.digest()
    if not runs:
        return Image(digest)
    try:
        return Image(digest, command_of(registry, digest))
    except Refused as refusal:
        raise Refused(f"what it runs cannot be told: {refusal.message}", STATE_COMMAND) from refusal


def _parsed(images: Mapping[str, str]) -> dict[str, Reference]:
    wrong, parsed = [], {}
    for field, image in images.items():
        try:
            parsed[image] = Reference.parse(image)
        except NotAReference as error:
            wrong.append(FieldError(field, str(error)))
    if wrong:
        raise InvalidSpec(f"not valid: {', '.join(error.field for error in wrong)}", code="invalid", errors=wrong)
    return parsed


def _unresolved(refused: Mapping[str, Refused], images: Mapping[str, str]) -> InvalidSpec:
    remedies = dict.fromkeys(refusal.remedy for refusal in refused.values())
    return InvalidSpec(
        f"what is behind {', '.join(refused)} cannot be told", code="image_unresolved", remedy="; ".join(remedies),
        errors=[FieldError(field, refused[image].message) for field, image in images.items() if image in refused])


def _in_time(wire: Wire, look: Callable[[], T]) -> T:
    """What `look` finds; Silent once the wire's time is over, whatever it waits for by then."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(look())
        except Exception as error:  # noqa: BLE001 - carried over, and raised by result()
            outcome.set_exception(error)

    threading.Thread(target=run, name="registry", daemon=True).start()
    try:
        return outcome.result(wire.left())
    except TimeoutError:
        wire.cut()
        raise Silent("it takes too long") from None
