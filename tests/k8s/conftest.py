"""The application over real servers, as the tests of web have it."""

from tests.webapp.conftest import make_web, rules, settings, web

__all__ = ["make_web", "rules", "settings", "web"]
