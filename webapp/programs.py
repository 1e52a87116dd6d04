"""Makes the program that every attempt of a simulation runs, of its template and its submission, and holds both against
the operator's ceilings. Called by submissions, and by the views that make templates."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from shared.domain.errors import FieldError, InvalidSpec
from shared.domain.specs import Limits, Program, Resources, SimulationSpec, TemplateSpec
from shared.settings import WebSettings, patterns
from webapp.images.reference import Allowed, Reference
from webapp.images.resolver import Images

NETWORKS = ("none", "cluster", "internet")


def make_program(spec: SimulationSpec, template: TemplateSpec, settings: WebSettings) -> Program:
    """The template with the submission's overrides and every default stated. InvalidSpec naming what is too much."""
    check_runnable(spec, template, settings)
    check_ceilings(spec, template, settings)
    return Program(command=template.command or (), image=image_of(spec, template, settings),
                   containers=template.containers, inputs=tuple(spec.inputs), env=template.env | spec.env,
                   resources=_resources(template.resources, settings), limits=limits_of(spec, template, settings),
                   run_seconds_stated=_stated(spec, template).run_seconds is not None,
                   stop=template.stop, record=template.record, retry=template.retry,
                   node_selector=template.node_selector, tolerations=template.tolerations,
                   pull_secret=template.pull_secret, writable_root=template.writable_root, network=template.network)


def check_runnable(spec: SimulationSpec, template: TemplateSpec, settings: WebSettings) -> None:
    """InvalidSpec when this deployment's runtime cannot run it: processes have a command, containers an image."""
    if settings.runtime == "local":
        if spec.image is not None or template.image is not None or template.command is None:
            raise _cannot_run_image(spec)
    elif image_of(spec, template, settings) is None:
        raise InvalidSpec("this template states no image", code="runtime_needs_image",
                          errors=[FieldError("template", "states no image, and this deployment runs containers")],
                          remedy="state an image, or ask the operator for COMMAND_IMAGE")


def image_of(spec: SimulationSpec, template: TemplateSpec, settings: WebSettings) -> str | None:
    """The image of the main container; what only has a command runs in the operator's, if there is one."""
    if settings.runtime == "local":
        return None
    return spec.image or template.image or settings.command_image


def check_ceilings(spec: SimulationSpec, template: TemplateSpec, settings: WebSettings) -> None:
    """InvalidSpec naming what is too much."""
    errors = list(_too_much(limits_of(spec, template, settings), _resources(template.resources, settings), settings))
    if spec.image is not None and not is_allowed(spec.image, settings):
        errors.append(FieldError("image", f"{spec.image} is not among the images of ALLOWED_IMAGES"))
    if errors or (errors := list(_outside(template, settings))):
        raise _over(errors)


def check_template(template: TemplateSpec, settings: WebSettings) -> None:
    """InvalidSpec naming what no submission of this template could be allowed: resources, limits, images."""
    errors = list(_too_much(template.limits, template.resources, settings))
    errors += [FieldError(field, f"{image} is not among the images of ALLOWED_IMAGES")
               for field, image in images_of(template).items() if not is_allowed(image, settings)]
    errors += _outside(template, settings)
    for place, container in enumerate(template.containers):
        errors += [FieldError(f"containers.{place}.{each.field}", each.message)
                   for each in _too_much(Limits(), container.resources, settings)]
    if errors:
        raise _over(errors)


def _outside(template: TemplateSpec, settings: WebSettings) -> Iterator[FieldError]:
    """What of a cluster it asks for and may not have."""
    if NETWORKS.index(template.network) > NETWORKS.index(settings.allowed_network):
        most = settings.allowed_network
        yield FieldError("network", f"{template.network} is more than the {most} of ALLOWED_NETWORK")
    if template.writable_root and not settings.allow_writable_root:
        yield FieldError("writable_root", "is not allowed by ALLOW_WRITABLE_ROOT")
    if template.pull_secret is not None and template.pull_secret not in patterns(settings.allowed_pull_secrets):
        yield FieldError("pull_secret", f"{template.pull_secret} is not among ALLOWED_PULL_SECRETS")
    for key, value in template.node_selector.items():
        if not _matches(f"{key}={value}", patterns(settings.allowed_node_labels)):
            yield FieldError(f"node_selector.{key}", f"{key}={value} is not among ALLOWED_NODE_LABELS")
    for place, toleration in enumerate(template.tolerations):
        key = str(toleration.get("key", ""))
        if not _matches(key, patterns(settings.allowed_tolerations)):
            yield FieldError(f"tolerations.{place}.key", f"{key or 'every key'} is not among ALLOWED_TOLERATIONS")


def images_of(template: TemplateSpec) -> dict[str, str]:
    """Every image that the template states, by the name of its field."""
    main = {} if template.image is None else {"image": template.image}
    return main | {f"containers.{place}.image": each.image for place, each in enumerate(template.containers)}


def commandless_of(template: TemplateSpec) -> set[str]:
    """The fields of those images that run what they say themselves."""
    stated = {"image": template.command} | {
        f"containers.{place}.image": each.command for place, each in enumerate(template.containers)}
    return {field for field in images_of(template) if not stated[field]}


def pin(program: Program, main: Images, others: Images) -> Program:
    """The program with the digests of its images, `main`'s of the main one, in place of their tags, and with what those
    run that no command is stated for; an image of a deployment that resolves none stays as it is."""
    containers = tuple(each.model_copy(update={"image": _pinned(each.image, others)}) for each in program.containers)
    image = None if program.image is None else _pinned(program.image, main)
    return program.model_copy(update={"image": image, "containers": containers,
                                      "image_commands": dict(_image_commands(program, main, others))})


def _image_commands(program: Program, main: Images, others: Images) -> Iterator[tuple[str, tuple[str, ...]]]:
    places = [(each.image, each.command, others) for each in program.containers]
    for image, command, images in [(program.image or "", program.command, main), *places]:
        if not command and image in images and (own := images[image].command):
            yield _pinned(image, images), own


def _pinned(image: str, images: Images) -> str:
    return Reference.parse(image).pinned(images[image].digest) if image in images else image


def is_allowed(image: str, settings: WebSettings) -> bool:
    """Whether ALLOWED_IMAGES lets it be run."""
    return Allowed.of(settings.image_patterns).allows(image)


def _matches(text: str, allowed: list[str]) -> bool:
    return any(fnmatchcase(text, each) for each in allowed)


def _over(errors: list[FieldError]) -> InvalidSpec:
    return InvalidSpec("more than this deployment allows", code="over_the_ceiling", errors=errors,
                       remedy="ask for less, or the operator for a higher ceiling")


def effective(limits: Limits, resources: Resources, settings: WebSettings) -> dict[str, float | int | None]:
    """What an instance of a template is held to where its submission states nothing else."""
    return {"run_seconds": _completed(limits, settings).run_seconds,
            "memory_mb": _resources(resources, settings).memory_mb}


def limits_of(spec: SimulationSpec, template: TemplateSpec, settings: WebSettings) -> Limits:
    """The submission's, or else the template's, or else the operator's."""
    return _completed(_stated(spec, template), settings)


def _stated(spec: SimulationSpec, template: TemplateSpec) -> Limits:
    overrides = {name: value for name, value in spec.limits.model_dump().items() if value is not None}
    return template.limits.model_copy(update=overrides)


def _completed(limits: Limits, settings: WebSettings) -> Limits:
    if limits.run_seconds is None:
        return limits.model_copy(update={"run_seconds": settings.execution_timeout_seconds})
    return limits


def _resources(stated: Resources, settings: WebSettings) -> Resources:
    if stated.memory_mb is None:
        return stated.model_copy(update={"memory_mb": settings.execution_memory_limit_mb})
    return stated


def _too_much(limits: Limits, resources: Resources, settings: WebSettings) -> Iterator[FieldError]:
    asked = (
        ("limits.run_seconds", limits.run_seconds or 0, settings.max_run_seconds, "MAX_RUN_SECONDS"),
        ("resources.memory_mb", resources.memory_mb or 0, settings.max_memory_mb, "MAX_MEMORY_MB"),
        ("resources.gpu", resources.gpu, settings.max_gpus, "MAX_GPUS"),
    )
    for field, value, ceiling, setting in asked:
        if value > ceiling:
            yield FieldError(field, f"{value:g} is more than the {ceiling:g} of {setting}")


def _cannot_run_image(spec: SimulationSpec) -> InvalidSpec:
    field = "image" if spec.image is not None else "template"
    message = "the local runtime of this deployment runs commands, not container images"
    return InvalidSpec(message, code="runtime_cannot_run_image", errors=[FieldError(field, message)],
                       remedy="use a template with a command; container engines are not driven yet")
