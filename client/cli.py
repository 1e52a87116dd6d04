"""The `simyard` command."""

import os
import sys
from importlib.util import find_spec

import click


@click.group()
@click.version_option(package_name="simyard", prog_name="simyard", message="%(prog)s %(version)s")
def main() -> None:
    """Run robot simulations on your own machines and clusters."""


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def up(options: tuple[str, ...]) -> None:
    """Start Simyard on this machine (simyard up --help)."""
    if find_spec("standalone") is None:
        raise click.ClickException("this installation cannot run a stack; pip install 'simyard[standalone]'")
    # It becomes the stack, whose options are declared there alone.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "standalone", *options])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
