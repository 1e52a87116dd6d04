"""What of a submission is taken, but may not be what is meant. Called by dry runs."""

from collections.abc import Iterator

from shared.domain.errors import FieldError
from shared.domain.specs import SimulationSpec
from webapp.offers import meant
from webapp.parameters.distributions import DISTRIBUTIONS
from webapp.parameters.schema import ParameterSchema


def doubts(spec: SimulationSpec, schema: ParameterSchema, total: int | None) -> Iterator[FieldError]:
    """Each by its field. `total` is how many instances the submission makes."""
    yield from _unnamed(spec, schema)
    if spec.method == "grid" and total == 1:
        for name, value in spec.parameters.items():
            if isinstance(value, dict) and value.keys() & DISTRIBUTIONS.keys():
                yield FieldError(f"parameters.{name}", "is drawn once, for the one instance there is; method random "
                                                       "with samples makes many")


def _unnamed(spec: SimulationSpec, schema: ParameterSchema) -> Iterator[FieldError]:
    """Parameters that the template does not name, where it does not say that others are welcome either."""
    stated = {f"parameters.{name}": name for name in spec.parameters}
    for place, point in enumerate(spec.points or ()):
        stated |= {f"points.{place}.{name}": name for name in point}
    if schema.is_empty:
        if stated:
            yield FieldError("parameters", "the template names no parameters, so these were held against nothing")
        return
    told = set()
    for field, name in stated.items():
        if not schema.speaks_of_others and name not in schema.named and name not in told:
            told.add(name)
            yield FieldError(field, f"the template names no such parameter{meant(name, schema.named)}")
