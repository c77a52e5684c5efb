"""`afdaemon demo`: a simulator and a daemon in two processes, and autofocus pressed through ZeroMQ."""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from afdaemon.cli.extras import needs
from afdaemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from afdaemon.api.schemas import Event
    from afdaemon.demo.run import DemoRun, OnEvent, Shown
    from afdaemon.demo.scene import Scene

_MICROGRAPHS_VARIABLE = "AFDAEMON_MICROGRAPHS"
_MICROGRAPH_FOLDERS = (Path("../shared/data/micrographs"),)
_TRAINED = ("tin_balls", "tem_grid", "gold_nanoparticles")


@needs("daemon")
def demo(
    specimen: Annotated[
        list[str] | None,
        typer.Option(help="a specimen's name or image:PATH; see `afdaemon sim gallery`"),
    ] = None,
    magnification: Annotated[int | None, typer.Option(help="20 to 150000")] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of all random choices")] = 0,
    start_offset_um: Annotated[
        float | None, typer.Option(help="start this far from focus; else drawn from the seed")
    ] = None,
    speed: Annotated[
        float, typer.Option(help="speed of the simulated instrument against real time")
    ] = 1.0,
    report: Annotated[Path | None, typer.Option(help="write an HTML report here")] = None,
    picture: Annotated[Path | None, typer.Option(help="write a PNG of the first run here")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Show autofocus on a simulated EM-30. Exit code 1 if a run did not converge."""
    from afdaemon.demo.scene import set_scene

    if start_offset_um is not None and not math.isfinite(start_offset_um):
        raise UsageError(f"start_offset_um must be a number, got {start_offset_um}")
    console = Console(stderr=as_json)
    names = specimen or [*_TRAINED, _micrograph(console)]
    for name in names:
        _check_specimen(name)
    scenes = [
        set_scene(name, seed=seed, magnification=magnification, start_offset_um=start_offset_um)
        for name in names
    ]
    shown = _play(scenes, console, speed)
    _write(report, picture, shown, console)
    if as_json:
        typer.echo(json.dumps({"runs": [one.run.as_json() for one in shown]}, indent=2))
    if not all(one.run.converged for one in shown):
        raise typer.Exit(1)


def _check_specimen(name: str) -> None:
    """Find out about an unknown specimen or a bad image before any process is started."""
    from afdaemon.sim.specimens.catalogue import open_specimen

    open_specimen(name, seed=0)


def _micrograph(console: Console) -> str:
    """A real micrograph if a folder of them is known, else a drawn picture in its place."""
    from afdaemon.sim.datasets.frames import find_micrographs, held_back

    named = os.environ.get(_MICROGRAPHS_VARIABLE)
    for folder in [Path(named)] if named else _MICROGRAPH_FOLDERS:
        unseen = [path for path in find_micrographs(folder) if held_back(path)]
        if unseen:
            return f"image:{unseen[-1]}"
    path = _drawn_picture()
    console.print(
        f"no folder of micrographs is known (set {_MICROGRAPHS_VARIABLE} to name one);"
        " a drawn picture stands in for one"
    )
    return f"image:{path}"


def _drawn_picture() -> Path:
    """An image file to show: a large drawn field, written beside the reports."""
    import cv2
    import numpy as np

    from afdaemon.sim.specimens.catalogue import open_specimen
    from afdaemon.sim.surface import Patch

    patch = Patch(left_um=0.0, top_um=0.0, step_um=0.13, width=1280, height=960)
    values = open_specimen("mixture", seed=11).draw(patch).secondary
    path = Path("runs") / "drawn_picture.png"
    encoded = cv2.imencode(".png", np.clip(255.0 * values, 0, 255).astype(np.uint8))[1]
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", remedy="go to a folder of your own"
        ) from error
    return path


def _play(scenes: "Sequence[Scene]", console: Console, speed: float) -> "list[Shown]":
    from afdaemon.api.client import Client
    from afdaemon.demo.processes import open_stage
    from afdaemon.demo.run import show

    shown = []
    with open_stage(speed=speed) as stage:
        console.print("starting the daemon ...")
        with stage.daemon(), Client(stage.endpoint) as client:
            for scene in scenes:
                console.print(
                    f"[bold]{scene.specimen}[/bold] at {scene.magnification}x, WD"
                    f" {scene.start_wd_um / 1000:.3f} mm,"
                    f" {(scene.start_wd_um - scene.focus_wd_um) / scene.dof_um:+.1f} DoF off"
                )
                one = show(stage, client, scene, _narrator(console))
                console.print(_summary(one.run))
                shown.append(one)
    return shown


def _narrator(console: Console) -> "OnEvent":
    """Prints each reading as it comes."""
    told = 0

    def tell(event: "Event") -> None:
        nonlocal told
        data = event.data
        number, wd_um, score = (data.get(key) for key in ("reading", "wd_um", "score"))
        if isinstance(number, int) and number > told and isinstance(score, int | float):
            told = number
            place = f"{wd_um / 1000:8.3f} mm" if isinstance(wd_um, int | float) else ""
            console.print(f"  {number:3d}  {data.get('kind') or '':<8} {place}  score {score:.2f}")

    return tell


def _summary(run: "DemoRun") -> str:
    verdict = "[green]focused[/green]" if run.converged else f"[red]{run.reason}[/red]"
    score = "" if run.score is None else f" score {run.score:.2f},"
    return (
        f"  {verdict}:{score} {run.final_error_um / run.dof_um:.2f} DoF from the truth,"
        f" {sum(run.readings.values())} readings, {run.seconds:.1f} s"
        + (", start WD restored" if run.restored else "")
    )


def _write(
    report: Path | None, picture: Path | None, shown: "list[Shown]", console: Console
) -> None:
    from afdaemon.demo.report import write_picture, write_report

    try:
        if report is not None:
            write_report(report, shown, "afdaemon demo")
            console.print(f"report: {report}")
        if picture is not None:
            write_picture(picture, shown[0])
            console.print(f"picture: {picture}")
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from error
