"""The Celery tasks: one a function, one line a function. Each looks and acts, so any may be lost, late or doubled."""

from uuid import UUID

from shared.messaging.queue import COLLECT, INGEST, LAUNCH, PLAY, STOP
from workers import collecting, launching, stopping
from workers.app import app, doors


@app.task(name=LAUNCH)
def launch(job: str) -> None:
    """Start the program of an admitted job."""
    launching.launch(doors(), UUID(job))


@app.task(name=INGEST)
def ingest(job: str) -> None:
    """Start the ingester of an admitted job."""
    launching.launch(doors(), UUID(job))


@app.task(name=PLAY)
def play(job: str) -> None:
    """Start the player of an admitted job."""
    launching.launch(doors(), UUID(job))


@app.task(name=STOP)
def stop(job: str) -> None:
    """Signal the program of a stopping job."""
    stopping.stop(doors(), UUID(job))


@app.task(name=COLLECT)
def collect(job: str) -> None:
    """Register what an ended attempt recorded, and end it."""
    collecting.collect(doors(), UUID(job))
