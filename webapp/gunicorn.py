"""What gunicorn does besides serving (`--config=python:webapp.gunicorn`)."""

from shared.settings import WebSettings, read


def on_starting(_: object) -> None:
    """Wrong settings end gunicorn itself, once and with the exit code of every process of ours: a worker that ends is
    only started anew."""
    read(WebSettings)
