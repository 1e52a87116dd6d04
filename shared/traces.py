"""Traces, sent by OTLP over HTTP when OTEL_EXPORTER_OTLP_ENDPOINT is set; when it is not, nothing of it is imported.
Begun by the entry of each process before it opens its doors."""

# ruff: noqa: PLC0415 - an extra, and nobody pays for what he does not use

from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from shared import logs
from shared.settings import Settings

EXPORT_SECONDS = 3.0  # a collector that does not answer may not hold up the end of a process

_provider: Any = None  # None while there are no traces


def load(settings: Settings) -> None:
    """Import what begin() needs, if it will need it: before a fork, which children then need not do each."""
    if settings.otel_exporter_otlp_endpoint is not None:
        _sdk()
        _instrumentors()


def begin(service: str, settings: Settings) -> bool:
    """Trace this process under that name if the settings say so; whether they do."""
    global _provider
    if settings.otel_exporter_otlp_endpoint is None:
        return False
    from opentelemetry import trace

    _provider = _make_provider(service, settings.otel_exporter_otlp_endpoint)
    trace.set_tracer_provider(_provider)
    for instrumentor in _instrumentors():
        instrumentor.instrument()
    logs.follow(_current_trace)
    return True


def end() -> None:
    """Send what was not sent yet."""
    if _provider is not None:
        _provider.shutdown()


def span(name: str) -> AbstractContextManager[Any]:
    """What is done in the block is one part of a trace."""
    return nullcontext() if _provider is None else _provider.get_tracer("simyard").start_as_current_span(name)


def _make_provider(service: str, endpoint: str) -> Any:
    sdk = _sdk()
    resource = sdk.Resource.create({"service.name": service, "service.version": version("simyard")})
    exporter = sdk.OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    provider = sdk.TracerProvider(resource=resource)
    provider.add_span_processor(sdk.BatchSpanProcessor(exporter))
    return provider


def _sdk() -> SimpleNamespace:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return SimpleNamespace(OTLPSpanExporter=OTLPSpanExporter, Resource=Resource, TracerProvider=TracerProvider,
                           BatchSpanProcessor=BatchSpanProcessor)


def _instrumentors() -> list[Any]:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    celery = CeleryInstrumentor()  # type: ignore[no-untyped-call]
    return [celery, RedisInstrumentor(), SQLAlchemyInstrumentor()]


def _current_trace() -> str | None:
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None
