"""`afctl keys new | list | revoke`: who may come in over tcp. It works on the files, on the daemon's machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from afdaemon import paths
from afdaemon.api.access import keys
from afdaemon.api.access.roles import ROLES, role_named

app = typer.Typer(help="Keys for clients on other machines; run this on the daemon's machine.")

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        envvar="AFDAEMON_API__KEYS_DIR",
        help="the daemon's setting api.keys_dir; of the system service /var/lib/afdaemon/keys",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="what the client is called")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON on stdout, nothing else")]


@app.command()
def new(
    name: NameArgument,
    role: Annotated[str, typer.Option(help=f"what it may do: {', '.join(ROLES)}")],
    out: Annotated[
        Path | None, typer.Option(help="file to write the client's key to; absent: NAME.key")
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Make a key for a client, and let it in. The file that is written is secret: it is kept nowhere else."""
    file = out or Path(f"{name}.key")
    keys.hand_out(_folder(folder), name, role_named(role), file)
    typer.echo(
        f"key {name} ({role}) is in {file}; carry it to the client, and there:\n"
        f"afctl --key {file.name} --endpoint tcp://HOST:60650 status"
    )


@app.command("list")
def show(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Show who may come in, with role and public key."""
    place = _folder(folder)
    found = keys.known(place)
    if as_json:
        rows = {name: grant.model_dump(mode="json") for name, grant in found.grants.items()}
        typer.echo(json.dumps({"folder": str(place), "keys": rows, "troubles": found.troubles}))
        return
    for name, grant in found.grants.items():
        typer.echo(f"{name:<20}  {grant.role:<10}  {grant.public}")
    if not found.grants:
        typer.echo(f"no keys in {place}")
    for trouble in found.troubles:
        typer.echo(trouble, err=True)


@app.command()
def revoke(name: NameArgument, folder: FolderOption = None) -> None:
    """Let a client in no more. It takes effect at once, also on a client that is connected."""
    keys.revoke(_folder(folder), name)
    typer.echo(f"key {name} is revoked")


def _folder(given: Path | None) -> Path:
    return given or paths.keys_dir()
