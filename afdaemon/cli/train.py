"""`afdaemon train`: the networks, from frames of the simulator, of real micrographs, or a user's own."""

import typer

from afdaemon.cli.train_acnet import acnet
from afdaemon.cli.train_aenet import aenet
from afdaemon.cli.train_classical import classical
from afdaemon.cli.train_defocus import defocus
from afdaemon.cli.train_scorer import scorer

app = typer.Typer(no_args_is_help=True, help="Train the networks.")
for command in (aenet, scorer, acnet, defocus, classical):
    app.command()(command)
