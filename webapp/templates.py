"""Finds and makes templates. Versions never change, so each is read once a process. Called by the API and install."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.domain.errors import Conflict, FieldError, InvalidSpec, NotFound
from shared.domain.events import rfc3339
from shared.domain.specs import TemplateSpec
from shared.persistence.database import Database
from shared.persistence.queries import claim_answer
from webapp import writes
from webapp.idempotency import Answer, Key, replayed
from webapp.images.resolver import Image, Images, Resolver
from webapp.parameters.schema import check_schema
from webapp.programs import commandless_of, images_of
from webapp.queries import templates as queries

CACHE_SIZE = 256


@dataclass(frozen=True)
class Template:
    """One version of a template, with what its images were when it was made."""

    name: str
    version: int
    spec: TemplateSpec
    images: Images = field(default_factory=dict)

    def knows(self, place: str, image: str) -> bool:
        """Whether it was found out what the image of that field is, and what it runs where no command is stated."""
        found = self.images.get(image)
        return found is not None and (found.command is not None or place not in commandless_of(self.spec))


class Templates:
    """Templates by reference, through a cache of their versions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: OrderedDict[tuple[str, int], Template] = OrderedDict()

    def find(self, reference: str) -> Template:
        """The template of `name@version`, or the newest of `name`. InvalidSpec when there is none to take."""
        name, _, number = reference.partition("@")
        with self._database.single() as tx:
            newest = queries.newest_number(tx, name)
        if newest is None:
            raise InvalidSpec(f"there is no template {name}", code="unknown_template",
                              errors=[FieldError("template", f"there is no {name}")],
                              remedy="GET /templates lists them")
        if newest.archived_at is not None:
            raise InvalidSpec(f"template {name} is archived", code="template_archived",
                              errors=[FieldError("template", f"{name} is archived")],
                              remedy="take another template, or PUT this one to take it out of the archive")
        version = int(number) if number else newest.number
        found = self._cache.get((name, version)) or self._read(name, version)
        if found is None:
            raise InvalidSpec(f"there is no template {reference}", code="unknown_template",
                              errors=[FieldError("template", f"there is no {reference}; the newest is "
                                                             f"{name}@{newest.number}")],
                              remedy=f"GET /templates/{name} shows the newest")
        return found

    def create(self, spec: TemplateSpec, images: Images, owner: UUID, key: Key | None) -> Answer:
        """Make version 1; (status, answer), which are those of before for a known key.

        InvalidSpec when the parameters are no schema, Conflict when the name is taken."""
        check_schema(spec.parameters)
        with self._database.transaction() as tx:
            at = writes.now(tx)
            stored, found = spec.model_dump(mode="json"), _stored(images)
            body = {"version": 1, "owner": str(owner), "created_at": rfc3339(at), "archived_at": None,
                    **queries.with_images(stored, found)}
            if key and (answer := claim_answer(tx, key.answering(201, body))):
                return replayed(answer)
            if not writes.add_template(tx, owner, stored, found, at):
                raise Conflict(f"there is a template called {spec.name} already", code="name_taken",
                               errors=[FieldError("name", "is taken")],
                               remedy=f"PUT /templates/{spec.name} for its next version, or choose another name")
        return 201, body

    def change(self, spec: TemplateSpec, images: Images) -> dict[str, Any]:
        """Make the next version, unless the newest is the same, and take it out of the archive; the newest as the API
        answers it. InvalidSpec when the parameters are no schema."""
        check_schema(spec.parameters)
        with self._database.transaction() as tx:
            writes.add_version(tx, spec.name, spec.model_dump(mode="json"), _stored(images))
            writes.set_archived(tx, spec.name, archived=False)
        return show(self._database, spec.name)

    def archive(self, name: str) -> None:
        """Let it take no submissions any more; again changes nothing."""
        with self._database.transaction() as tx:
            writes.set_archived(tx, name, archived=True)

    def _read(self, name: str, version: int) -> Template | None:
        with self._database.single() as tx:
            row = queries.version(tx, name, version)
        if row is None:
            return None
        found = Template(name, version, TemplateSpec.model_validate(row.spec), _found(row.images))
        self._cache[name, version] = found
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return found


def install(database: Database, spec: TemplateSpec, images: Resolver) -> str:
    """Make the built-in template, or give it a new version when it differs; says what was done. Safe with N at once.

    What is there already stays as it is, also when a tag means another image by now: nobody has asked for that."""
    check_schema(spec.parameters)
    stored = spec.model_dump(mode="json")
    with database.single() as tx:
        newest = queries.newest(tx, spec.name)
    known = _found(newest.images) if newest is not None and newest.spec == stored else {}
    found = _stored(resolve(spec, images, known))
    with database.transaction() as tx:
        if writes.add_template(tx, None, stored, found, writes.now(tx)):
            return "made as version 1"
        number = writes.add_version(tx, spec.name, stored, found)
    return "is there already" if number is None else f"changed, now version {number}"


def resolve(spec: TemplateSpec, images: Resolver, known: Images | None = None) -> dict[str, Image]:
    """What its images are, as Resolver.resolve has it."""
    return images.resolve(images_of(spec), known, commandless=commandless_of(spec))


def _stored(images: Images) -> dict[str, Any]:
    return {image: found.stored() for image, found in images.items()}


def _found(stored: dict[str, Any]) -> dict[str, Image]:
    return {image: Image.of(each) for image, each in stored.items()}


def show(database: Database, name: str, version: int | None = None) -> dict[str, Any]:
    """As the API answers it; the newest without a version. NotFound."""
    with database.single() as tx:
        row = queries.newest(tx, name) if version is None else queries.version(tx, name, version)
    if row is None:
        raise NotFound(f"there is no template {name}" + (f"@{version}" if version else ""))
    return queries.resource(row)
