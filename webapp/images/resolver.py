"""Resolves the images that somebody states, once, to what they are now. Called by the views that make templates, by
submissions and by install, outside of any transaction."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from shared.domain.errors import FieldError, InvalidSpec, Unavailable
from shared.settings import WebSettings
from webapp.images.credentials import login_of
from webapp.images.reference import Allowed, NotAReference, Reference
from webapp.images.registry import Registry, Trust
from webapp.images.wire import Refused, Silent, Wire

SECONDS = 8.0  # for all images of one body

Digests = Mapping[str, str]  # by image, as it was stated


class Resolver:
    """Asks the registries of images that ALLOWED_IMAGES allows; whoever calls has seen to that."""

    def __init__(self, settings: WebSettings, seconds: float = SECONDS) -> None:
        self._settings, self._seconds = settings, seconds
        insecure, allowed = settings.insecure_hosts, Allowed.of(settings.image_patterns)
        self._trust = Trust(lambda host: host in insecure or allowed.names(host), lambda host: host in insecure)

    def resolve(self, images: Mapping[str, str], known: Digests | None = None) -> dict[str, str]:
        """The digests of these images, which stand by the names of their fields, but for those `known` already.

        Those stated by digest are not asked for, nor is any other where RESOLVE_IMAGES is off: it is left out then.
        InvalidSpec names the fields that are wrong, Unavailable those whose registry does not answer."""
        references = _parsed(images)
        digests = {image: reference.digest or (known or {}).get(image, "") for image, reference in references.items()}
        if self._settings.resolves_images:
            asked = {image: reference for image, reference in references.items() if not digests[image]}
            digests |= self._ask(asked, images) if asked else {}
        return {image: digest for image, digest in digests.items() if digest}

    def _ask(self, references: Mapping[str, Reference], images: Mapping[str, str]) -> dict[str, str]:
        wire, found, refused = Wire(self._seconds), dict[str, str](), dict[str, Refused]()
        for image, reference in references.items():
            login = login_of(self._settings.registry_credentials, reference)
            try:
                found[image] = _in_time(wire, Registry(wire, reference, self._trust, login).digest)
            except Refused as refusal:
                refused[image] = refusal
            except Silent as silence:
                raise Unavailable(
                    f"the image {image} cannot be resolved: {silence}", code="registry_unavailable",
                    errors=[FieldError(field, str(silence)) for field, each in images.items() if each == image],
                    remedy="try again in a moment, or state the image by its digest") from silence
        if refused:
            raise _unresolved(refused, images)
        return found


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


def _in_time(wire: Wire, look: Callable[[], str]) -> str:
    """What `look` finds; Silent once the wire's time is over, whatever it waits for by then."""
    outcome: Future[str] = Future()

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
