"""What POST /simulations does: a submission is drafted and looked at from all sides, and either handed to lifecycle in
one transaction, or told what would come of it (dry_run)."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar
from uuid import UUID, uuid4

from shared.domain.errors import FieldError, InvalidSpec, Refused
from shared.domain.moves import Submission
from shared.domain.specs import SimulationSpec, TemplateSpec
from shared.domain.states import BundleState, State, phase
from shared.persistence import quotas
from shared.settings import WebSettings
from webapp import offload
from webapp.idempotency import Answer, Key, replayed
from webapp.images.resolver import Image
from webapp.parameters.doubts import doubts
from webapp.parameters.schema import compiled
from webapp.parameters.sweeps import SEEDS, Sets, TooMuch, check_sets, expand
from webapp.parts import Parts
from webapp.programs import check_ceilings, check_runnable, commandless_of, images_of, limits_of, make_program, pin
from webapp.queries import bundles
from webapp.queries.simulations import PRIORITIES
from webapp.templates import Template

P = ParamSpec("P")
R = TypeVar("R")

SHOWN_POINTS = 20
# In place of a template that is not there, so that the rest is looked at all the same.
UNKNOWN = Template("unknown", 0, TemplateSpec(name="unknown", command=("unknown",)))


@dataclass
class Draft:
    """What a submission would make, as far as it can be told, and why it is refused. `spec` states its seed; `total`
    is how many instances it asks for, None where that cannot be known; `images` has its own image."""

    spec: SimulationSpec
    owner: UUID
    viewer: UUID | None
    template: Template = UNKNOWN
    sets: Sets = field(default_factory=list)
    total: int | None = None
    images: dict[str, Image] = field(default_factory=dict)
    refusals: list[Refused] = field(default_factory=list)


Check = Callable[[Parts, Draft], None]


def submit(parts: Parts, spec: SimulationSpec, owner: UUID, viewer: UUID | None, key: Key | None) -> Answer:
    """Write the simulation; (202, answer), or those of before for a known key. InvalidSpec says what is wrong."""
    if key and (answer := key.known(parts.connections.database)):
        return answer
    made = draft(parts, spec, owner, viewer, CHECKS)
    if made.refusals:
        raise made.refusals[0]
    submission = _submission(made, parts.settings)
    body = _answer(submission, parts.settings.api_str)
    known = parts.connections.lifecycle.submit(submission, key.answering(202, body) if key else None)
    return replayed(known) or (202, body)


def try_out(parts: Parts, spec: SimulationSpec, owner: UUID, viewer: UUID | None) -> dict[str, Any]:
    """What `submit` would make of it, or every reason why it would not. Writes nothing."""
    made = draft(parts, spec, owner, viewer, (*CHECKS, _check_quota))
    # Without its template a point would lack the defaults.
    shown = [] if made.template is UNKNOWN else made.sets[:SHOWN_POINTS]
    return {
        "dry_run": True, "accepted": not made.refusals, "total": made.total, "seed": made.spec.seed,
        "points": [{"index": index, "parameters": parameters, "seed": seed}
                   for index, (parameters, seed) in enumerate(shown)],
        "limits": _limits(parts, made),
        "refused": [_told(error) | {"code": refusal.code, "remedy": refusal.remedy} for refusal in made.refusals
                    for error in refusal.errors or (FieldError("body", refusal.detail),)],
        "warnings": [_told(each) for each in _doubts(parts, made)],
    }


def _told(error: FieldError) -> dict[str, str]:
    return {"field": error.field, "message": error.message}


def _limits(parts: Parts, made: Draft) -> dict[str, Any] | None:
    if made.template is UNKNOWN:
        return None
    return limits_of(made.spec, made.template.spec, parts.settings).model_dump(mode="json")


def _doubts(parts: Parts, made: Draft) -> list[FieldError]:
    if made.template is UNKNOWN:
        return []
    found = list(doubts(made.spec, compiled(made.template.spec.parameters), made.total))
    looked = parts.settings.resolves_images or parts.settings.runtime == "local"
    return found if looked else found + _alone(made)


def _alone(made: Draft) -> list[FieldError]:
    """What is run as its image says, which nobody could look at."""
    own = {} if made.spec.image is None else {"image": made.spec.image}
    known = {image for image, each in {**made.template.images, **made.images}.items() if each.command is not None}
    images, running = images_of(made.template.spec) | own, commandless_of(made.template.spec)
    return [FieldError("template", f"states no command for {image}, and RESOLVE_IMAGES is off: what that runs is not "
                                   "known, so its output is not kept and only SIGTERM asks it to end")
            for place, image in images.items() if place in running and image not in known]


def draft(parts: Parts, spec: SimulationSpec, owner: UUID, viewer: UUID | None,
          checks: Sequence[Check]) -> Draft:
    """The submission as far as it can be made, with every reason against it."""
    seed = secrets.randbelow(SEEDS) if spec.seed is None else spec.seed
    made = Draft(spec.model_copy(update={"seed": seed}), owner, viewer)
    for check in checks:
        try:
            check(parts, made)
        except Refused as refusal:
            made.refusals.append(refusal)
    return made


# -- the checks -----------------------------------------------------------------------------------------------------

def _check_inputs(parts: Parts, made: Draft) -> None:
    """Every input is a bundle with its files that the one who submits may read."""
    wanted = made.spec.inputs
    if not wanted:
        return
    with parts.connections.database.single() as tx:
        states = bundles.states(tx, wanted, made.viewer)
    wrong = [FieldError(f"inputs.{place}", f"there is no bundle {bundle}" if bundle not in states else
                        f"bundle {bundle} is {states[bundle]}")
             for place, bundle in enumerate(wanted)
             if states.get(bundle) not in (BundleState.READY, BundleState.DAMAGED)]
    if wrong:
        raise InvalidSpec("not valid: inputs", code="invalid", errors=wrong)


def _find_template(parts: Parts, made: Draft) -> None:
    made.template = parts.templates.find(made.spec.template)


def _check_program(parts: Parts, made: Draft) -> None:
    check_runnable(made.spec, made.template.spec, parts.settings)


def _check_ceilings(parts: Parts, made: Draft) -> None:
    check_ceilings(made.spec, made.template.spec, parts.settings)


def _make_sets(parts: Parts, made: Draft) -> None:
    """The sets, also when they do not fit the template."""
    spec, schema = made.spec, compiled(made.template.spec.parameters)
    varies = spec.points or spec.samples or any(isinstance(each, dict) for each in spec.parameters.values())
    # One point is made faster than a thread is reached.
    run = offload.run if varies or spec.repeats > 100 else _directly
    try:
        made.sets = run(expand, spec, schema, parts.settings.max_instances_per_simulation)
    except TooMuch as refusal:
        made.total = refusal.total
        raise
    made.total = len(made.sets)
    if made.template is not UNKNOWN:
        run(check_sets, made.sets, schema)


def _resolve_image(parts: Parts, made: Draft) -> None:
    """Only when nothing else is against it, for a registry is asked."""
    if made.refusals:
        return
    own, template = made.spec.image, made.template
    if own is not None:
        made.images = parts.images.resolve({"image": own}, commandless=() if template.spec.command else ("image",))
    if not parts.settings.resolves_images:
        return
    stated = {field: image for field, image in images_of(template.spec).items() if field != "image" or own is None}
    if unresolved := [image for field, image in stated.items() if not template.knows(field, image)]:
        raise InvalidSpec(
            f"template {template.name}@{template.version} was made while images were not resolved",
            code="image_unresolved", errors=[FieldError("template", f"{image} was not") for image in unresolved],
            remedy="PUT the template as it is: its next version has what they are")


def _check_quota(parts: Parts, made: Draft) -> None:
    """Before the fact, for who only asks: a submission is held against its owner's limits as it is written."""
    with parts.connections.database.single() as tx:
        faults = quotas.faults(tx, made.owner, parts.connections.limits, more_queued=made.total or 0)
    if faults:
        raise quotas.exceeded(faults)


def _directly(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    return function(*args, **kwargs)


# In the order in which they are told. Each may lean on what those before it have found.
CHECKS: Sequence[Check] = (
    _check_inputs,
    _find_template,
    _check_program,
    _check_ceilings,
    _make_sets,
    _resolve_image,
)


# -- what is written ------------------------------------------------------------------------------------------------

def _submission(made: Draft, settings: WebSettings) -> Submission:
    template = made.template
    spec = made.spec.model_copy(update={
        "template": f"{template.name}@{template.version}", "name": made.spec.name or template.name})
    program = pin(make_program(spec, template.spec, settings), made.images if spec.image else template.images,
                  template.images)
    return Submission(
        id=uuid4(), name=spec.name or template.name, owner=made.owner, visibility=spec.visibility, labels=spec.labels,
        template=template.name, template_version=template.version, spec=stored_spec(spec),
        program=program, seed=spec.seed or 0, priority=PRIORITIES[spec.priority],
        max_parallel=spec.max_parallel, sets=made.sets, keep=spec.keep, keep_days=spec.keep_days)


def stored_spec(spec: SimulationSpec) -> dict[str, Any]:
    """The submission as kept. Postgres forgets the order of keys, but the order of parameters is that of the sets."""
    return spec.model_dump(mode="json") | {"parameter_order": list(spec.parameters)}


def _answer(submission: Submission, api: str) -> dict[str, Any]:
    return {
        "id": str(submission.id), "name": submission.name, "state": State.QUEUED, "phase": phase(State.QUEUED),
        "template": {"name": submission.template, "version": submission.template_version},
        "seed": submission.seed, "total": len(submission.sets),
        "limits": submission.program.limits.model_dump(mode="json"),
        "links": links(api, submission.id),
    }


def links(api: str, simulation: UUID | str) -> dict[str, str]:
    """Where to go on from a simulation."""
    this = f"{api}/simulations/{simulation}"
    return {"self": this, "status": f"{this}/status", "instances": f"{this}/instances",
            "results": f"{this}/results", "events": f"{this}/events", "queue": f"{this}/queue"}
