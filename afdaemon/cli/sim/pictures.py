"""`afdaemon sim snapshot` and `afdaemon sim gallery`: pictures as the simulated instrument records them."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from afdaemon.cli.extras import needs
from afdaemon.cli.output import check_suffix, write_all
from afdaemon.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg")
_LARGEST_SHEET_BYTES = 1_000_000
_OUT = "--out"


@needs("sim")
def snapshot(
    *,
    out: Annotated[
        Path, typer.Option(help="PNG or JPEG file; its ground truth goes next to it as .json")
    ],
    specimen: Annotated[
        str | None, typer.Option(help="a specimen's name or image:PATH; default: tin_balls")
    ] = None,
    magnification: Annotated[int | None, typer.Option(help="20 to 150000; default: 2000")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of all random choices; default: 0")] = None,
    defocus_dof: Annotated[float, typer.Option(help="depths of focus beyond the best WD")] = 0.0,
    mode: Annotated[
        str | None, typer.Option(help="fast (320 x 240) or full (640 x 480); default: fast")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, a setting of the instrument; may be repeated"),
    ] = None,
) -> None:
    """Take one frame of a simulated instrument; write it and its truth."""
    check_suffix(out, SUFFIXES)
    _check_number(defocus_dof)
    from afdaemon.cli.sim.options import gather
    from afdaemon.sim.datasets.snapshot import take

    options = {"specimen": specimen, "magnification": magnification, "seed": seed, "mode": mode}
    settings, _ = gather(None, set_ or [], options)
    (shot,) = take(settings, [defocus_dof])
    told = json.dumps(shot.as_json(), indent=2) + "\n"
    write_all(
        {out: _encoded(out, shot.pixels), out.with_suffix(".json"): told.encode()}, option=_OUT
    )
    typer.echo(
        f"{out}: {shot.truth.specimen} at {shot.truth.magnification}x,"
        f" {shot.defocus_dof:+.2f} DoF, score {shot.truth.score:.2f}"
    )


@needs("sim")
def gallery(
    *,
    out: Annotated[Path, typer.Option(help="PNG file")] = Path("gallery.png"),
    seed: Annotated[int, typer.Option(help="seed of all random choices")] = 0,
    specimen: Annotated[
        list[str] | None, typer.Option(help="a specimen's name or image:PATH; may be repeated")
    ] = None,
    magnification: Annotated[
        list[int] | None, typer.Option(help="20 to 150000; may be repeated")
    ] = None,
    defocus_dof: Annotated[
        list[float] | None, typer.Option(help="in depths of focus; may be repeated")
    ] = None,
) -> None:
    """Draw a contact sheet: specimens x magnifications x defocus."""
    check_suffix(out, (".png",))
    for offset in defocus_dof or ():
        _check_number(offset)
    from afdaemon.sim.datasets.gallery import Gallery, draw, encode

    usual = Gallery()
    shown = Gallery(
        specimens=tuple(specimen or usual.specimens),
        magnifications=tuple(magnification or usual.magnifications),
        defocus_dof=tuple(defocus_dof or usual.defocus_dof),
        seed=seed,
    )
    sheet = draw(shown)
    write_all({out: encode(sheet, limit_bytes=_LARGEST_SHEET_BYTES)}, option=_OUT)
    typer.echo(f"{out}: {sheet.shape[1]} x {sheet.shape[0]} pixels")


def _check_number(defocus_dof: float) -> None:
    if not math.isfinite(defocus_dof):
        raise UsageError(f"the defocus must be a number of depths of focus, not {defocus_dof}")


def _encoded(out: Path, pixels: object) -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(out.suffix.lower(), np.asarray(pixels, np.uint8))[1].tobytes()
