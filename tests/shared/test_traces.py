"""Without the setting there is nothing of OpenTelemetry in a process; with it and without the packages, no process."""

import os

import pytest

from shared import settings, traces
from shared.settings import WebSettings
from tests.architecture.test_house import SETTINGS
from tests.webapp.web import make_settings


def test_what_is_not_asked_for_does_not_begin() -> None:
    assert not traces.begin("simyard-test", make_settings())


def test_traces_without_the_packages_end_the_start_naming_the_extra(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (SETTINGS | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name, value)
    assert settings.read(WebSettings).otel_exporter_otlp_endpoint == "http://127.0.0.1:9"
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        settings.read(WebSettings)
    assert ended.value.code == os.EX_CONFIG
    said = capsys.readouterr().err
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said
    assert "pip install 'simyard[otel]'" in said
