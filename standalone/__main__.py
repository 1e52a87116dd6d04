"""`python -m standalone`, which `simyard up` becomes: its options, and how it speaks to people."""

import logging
import sys
from pathlib import Path

import click

from standalone.failures import StartFailed, one_line
from standalone.up import Options, up

log = logging.getLogger("standalone")


@click.command("up")
@click.option("--port", type=click.IntRange(0, 65535), default=None, metavar="PORT",
              help="Port of web.  [default: the one it had, at first 8000; the next free one if taken; 0 = any]")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path(".simyard"), metavar="FOLDER",
              show_default=True, help="Where everything is kept: databases, recordings, passwords, logs.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, metavar="N", show_default=True,
              help="How many worker processes.")
@click.option("--watchers", type=click.IntRange(1, 8), default=1, metavar="N", show_default=True,
              help="How many watcher processes; one leads, the others stand by.")
@click.option("--json", is_flag=True, help="Print one line of JSON once ready: addresses, passwords, process ids.")
def main(data: Path, port: int | None, workers: int, watchers: int, json: bool) -> None:
    """Start Simyard on this machine: database, queue, object storage, web, workers.

    Runs until Ctrl-C. Servers named by DATABASE_URL, REDIS_URL or MINIO_ENDPOINT, in the environment or in .env, are
    used instead of being started.
    """
    _speak()
    try:
        up(Options(data=data, port=port, workers=workers, watchers=watchers, json=json))
    except StartFailed as error:
        log.error("%s", error)
        sys.exit(1)
    except OSError as error:
        log.error("%s cannot be used: %s; make room and let us write, or choose another --data", data, one_line(error))
        sys.exit(1)


def _speak() -> None:
    """Everything that is said goes to stderr, a line each; that nobody listens is no failure."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("simyard: %(message)s"))
    log.addHandler(handler)
    handler.setLevel(logging.INFO)
    log.setLevel(logging.DEBUG)  # for the log file
    log.propagate = False


if __name__ == "__main__":
    main(prog_name="simyard up")
