"""What POST /simulations does: template, sets and program of a submission, handed to lifecycle in one transaction."""

import secrets
from typing import Any
from uuid import UUID, uuid4

from shared.domain.errors import FieldError, InvalidSpec
from shared.domain.moves import Submission
from shared.domain.specs import SimulationSpec
from shared.domain.states import BundleState, State, phase
from webapp import offload
from webapp.idempotency import Answer, Key
from webapp.parts import Parts
from webapp.programs import make_program
from webapp.queries import bundles
from webapp.queries.simulations import PRIORITIES
from webapp.sweeps import SEEDS, Sets, expand
from webapp.templates import Template


def submit(parts: Parts, spec: SimulationSpec, owner: UUID, viewer: UUID | None, key: Key | None) -> Answer:
    """Write the simulation; (202, answer), or those of before for a known key. InvalidSpec says what is wrong."""
    if key and (answer := key.known(parts.connections.database)):
        return answer
    _check_inputs(parts, spec, viewer)
    template = parts.templates.find(spec.template)
    spec = spec.model_copy(update={
        "template": f"{template.name}@{template.version}", "name": spec.name or template.name,
        "seed": secrets.randbelow(SEEDS) if spec.seed is None else spec.seed})
    program = make_program(spec, template.spec, parts.settings)
    sets = _expand(spec, template, parts.settings.max_instances_per_simulation)
    submission = Submission(
        id=uuid4(), name=spec.name or template.name, owner=owner, visibility=spec.visibility, labels=spec.labels,
        template=template.name, template_version=template.version, spec=stored_spec(spec),
        program=program, seed=spec.seed or 0, priority=PRIORITIES[spec.priority], max_parallel=spec.max_parallel,
        sets=sets)
    body = _answer(submission, parts.settings.api_str)
    known = parts.connections.lifecycle.submit(submission, key.answering(202, body) if key else None)
    return known or (202, body)


def _check_inputs(parts: Parts, spec: SimulationSpec, viewer: UUID | None) -> None:
    """Every input is a bundle with its files that the one who submits may read."""
    if not spec.inputs:
        return
    with parts.connections.database.single() as tx:
        states = bundles.states(tx, spec.inputs, viewer)
    wrong = [FieldError(f"inputs.{place}", f"there is no bundle {bundle}" if bundle not in states else
                        f"bundle {bundle} is {states[bundle]}")
             for place, bundle in enumerate(spec.inputs)
             if states.get(bundle) not in (BundleState.READY, BundleState.DAMAGED)]
    if wrong:
        raise InvalidSpec("not valid: inputs", code="invalid", errors=wrong)


def _expand(spec: SimulationSpec, template: Template, ceiling: int) -> Sets:
    # One point is made faster than a thread is reached.
    varies = spec.points is not None or any(isinstance(each, dict) for each in spec.parameters.values())
    if not varies and spec.repeats <= 100:
        return expand(spec, template.spec, ceiling)
    return offload.run(expand, spec, template.spec, ceiling)


def stored_spec(spec: SimulationSpec) -> dict[str, Any]:
    """The submission as kept. Postgres forgets the order of keys, but the order of parameters is that of the sets."""
    return spec.model_dump(mode="json") | {"parameter_order": list(spec.parameters)}


def _answer(submission: Submission, api: str) -> dict[str, Any]:
    return {
        "id": str(submission.id), "name": submission.name, "state": State.QUEUED, "phase": phase(State.QUEUED),
        "template": {"name": submission.template, "version": submission.template_version},
        "seed": submission.seed, "total": len(submission.sets), "links": links(api, submission.id),
    }


def links(api: str, simulation: UUID | str) -> dict[str, str]:
    """Where to go on from a simulation."""
    this = f"{api}/simulations/{simulation}"
    return {"self": this, "status": f"{this}/status", "instances": f"{this}/instances", "events": f"{this}/events",
            "queue": f"{this}/queue"}
