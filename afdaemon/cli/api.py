"""`afdaemon api`: the contract of the API."""

import typer

app = typer.Typer(help="The API's contract.", no_args_is_help=False)


@app.callback()
def root() -> None:
    """The API's contract."""


@app.command()
def schema() -> None:
    """Print the OpenRPC document: `afdaemon api schema > docs/api/openrpc.json`."""
    from afdaemon.api.openrpc import document

    typer.echo(document().model_dump_json(indent=2))
