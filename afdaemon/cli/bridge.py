"""`afdaemon bridge`: the program for the vendor's PC, as a file to copy there."""

from pathlib import Path
from typing import Annotated

import typer


def bridge(
    *,
    write: Annotated[
        Path, typer.Option(help="where to write it: a file name, or a folder such as a USB stick")
    ],
) -> None:
    """Write em30_bridge.py, which runs on the vendor's PC with any Python from 3.9 on; see docs/bridge.md."""
    from afdaemon.drivers.bridge import em30_bridge

    source = Path(em30_bridge.__file__)
    target = write / source.name if write.is_dir() else write
    try:
        target.write_bytes(source.read_bytes())
    except OSError as error:
        raise typer.BadParameter(
            f"{target} cannot be written: {error.strerror}", param_hint="--write"
        ) from error
    typer.echo(f"wrote {target}: copy it to the vendor's PC and try `python {target.name} --help`")
