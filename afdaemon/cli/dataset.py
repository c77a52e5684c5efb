"""`afdaemon dataset`: labelled frames on disk, written by the simulator or supplied by the user."""

import os
from collections import Counter
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from afdaemon import __version__
from afdaemon.cli.extras import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from afdaemon.models.training.labelled_folder import FolderFault, Pair

app = typer.Typer(no_args_is_help=True, help="Labelled frames on disk.")

_FAULTS_SHOWN = 50
_BAR_WIDTH = 40


class Which(StrEnum):
    """Parts of a data set, by whole scenes."""

    TRAIN = "train"
    VALIDATE = "validate"
    TEST = "test"
    ALL = "all"


@app.command()
@needs("sim")
def write(
    folder: Annotated[Path, typer.Argument(help="an empty folder, or one to continue")],
    scenes: Annotated[int, typer.Option(min=1, max=10_000, help="scenes per specimen")] = 1250,
    seed: Annotated[int, typer.Option(min=0, help="seed of all random choices")] = 1,
    part: Annotated[Which, typer.Option(help="which scenes")] = Which.ALL,
    fast: Annotated[bool, typer.Option("--fast", help="320 x 240 in place of 640 x 480")] = False,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="also the specimens that nothing is trained on")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="processes; default: one per core")
    ] = None,
) -> None:
    """Write Dataset 1: frames of the simulated EM-30 with their scores, 8 per scene, as jpg and txt.

    The usual 30 000 frames take 6 GB and about 40 minutes on two cores. If interrupted, the same command continues.
    """
    from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, SPECIMENS, Dataset1, Part
    from afdaemon.sim.datasets.dataset1_files import Plan, write_dataset

    width_px, height_px = (320, 240) if fast else (640, 480)
    plan = Plan(
        dataset=Dataset1(
            seed=seed, scenes_per_specimen=scenes, width_px=width_px, height_px=height_px
        ),
        version=__version__,
        parts=tuple(Part) if part is Which.ALL else (Part(part),),
        specimens=SPECIMENS if unseen else tuple(PUBLISHED_MAGNIFICATIONS),
    )
    columns = (TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    writing = write_dataset(plan, folder, workers=workers or os.cpu_count() or 1)
    with closing(writing), Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("scenes", total=None)
        for done, total in writing:
            bar.update(task, completed=done, total=total)
    typer.echo(f"{folder}: {len(plan.scenes()) * plan.dataset.frames_per_scene} labelled frames")


@app.command()
@needs("daemon")
def check(
    folder: Annotated[Path, typer.Argument(help="labelled frames: pairs of jpg and txt")],
) -> None:
    """Read every frame of a folder; print counts, scores, and what is wrong with which file (exit code 1 if any)."""
    from afdaemon.cli.labelled_frames import listing_faults, parts_noted, reading
    from afdaemon.models.training.labelled_folder import survey

    with Console(stderr=True).status(f"reading {folder}"):
        pairs, faults = survey(folder, reading(), parts=parts_noted(folder))
        faults += listing_faults(folder)
    console = Console()
    console.print(_counts(pairs))
    console.print(_histogram(pairs))
    _print_faults(faults)
    if not pairs:
        typer.echo(f"{folder} holds no labelled frames", err=True)
    if faults or not pairs:
        raise typer.Exit(1)


def _counts(pairs: "Sequence[Pair]") -> Table:
    """Frames of each folder (a specimen) and part."""
    from afdaemon.models.training.labelled_folder import PARTS

    counted = Counter((Path(pair.name).parent.as_posix(), pair.part) for pair in pairs)
    table = Table("specimen", "scenes", *PARTS, "frames")
    for specimen in sorted({name for name, _ in counted}):
        own = [counted[specimen, part] for part in PARTS]
        scenes = {pair.scene for pair in pairs if Path(pair.name).parent.as_posix() == specimen}
        table.add_row(specimen, *(str(n) for n in (len(scenes), *own, sum(own))))
    return table


def _histogram(pairs: "Sequence[Pair]") -> Table:
    """How many frames have which score, rounded."""
    counted = Counter(round(pair.label.score) for pair in pairs)
    most = max(counted.values(), default=1)
    table = Table("score", "frames", "")
    for score in range(10):
        table.add_row(
            str(score), str(counted[score]), "█" * round(_BAR_WIDTH * counted[score] / most)
        )
    return table


def _print_faults(faults: "Sequence[FolderFault]") -> None:
    for fault in faults[:_FAULTS_SHOWN]:
        typer.echo(str(fault), err=True)
    if len(faults) > _FAULTS_SHOWN:
        typer.echo(f"and {len(faults) - _FAULTS_SHOWN} more", err=True)
    typer.echo(f"wrong: {len(faults)}" if faults else "nothing is wrong")
