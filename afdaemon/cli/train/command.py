"""`afdaemon train`: the networks, from simulated frames, real micrographs, or a user's own frames."""

import typer

from afdaemon.cli.train.acnet import acnet
from afdaemon.cli.train.aenet import aenet
from afdaemon.cli.train.classical import classical
from afdaemon.cli.train.defocus import defocus
from afdaemon.cli.train.posterior import posterior
from afdaemon.cli.train.scorer import scorer

app = typer.Typer(no_args_is_help=True, help="Train the networks.")
for command in (aenet, scorer, acnet, defocus, posterior, classical):
    app.command()(command)
