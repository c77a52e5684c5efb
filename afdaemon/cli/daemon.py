"""The command `afdaemon`. Each subcommand is a module that imports nothing heavy before it runs."""

import sys
from typing import Annotated

import typer

from afdaemon import __version__
from afdaemon.cli import api, bridge, config, dataset, demo, evaluate, replay, serve
from afdaemon.cli.doctor import command as doctor
from afdaemon.cli.install import command as install
from afdaemon.cli.runner import run_app
from afdaemon.cli.score import command as score
from afdaemon.cli.sim import command as sim
from afdaemon.cli.train import command as train

app = typer.Typer(
    help="Autofocus service for scanning electron microscopes of the EM-30 class.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.add_typer(config.app, name="config")
app.add_typer(api.app, name="api")
app.add_typer(train.app, name="train")
app.add_typer(dataset.app, name="dataset")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(sim.app, name="sim")
app.command("score")(score.score)
app.command("replay")(replay.replay)
app.command("bridge")(bridge.bridge)
app.command("doctor")(doctor.doctor)
app.command("install")(install.install)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afdaemon {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Autofocus service for scanning electron microscopes of the EM-30 class."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Entry point."""
    sys.exit(run_app(app, program="afdaemon"))
