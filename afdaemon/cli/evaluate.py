"""`afdaemon evaluate`: tables of how well the networks judge, beside the published ones."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.cli.output import write_all
from afdaemon.clock import SystemClock
from afdaemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from afdaemon.evaluate.aenet import Evaluation
    from afdaemon.evaluate.section import Section
    from afdaemon.models.scorer import FocusScorer
    from afdaemon.models.scoring import FrameScorer

app = typer.Typer(no_args_is_help=True, help="Measure how well the networks judge.")

DEFAULT_OUT = Path("docs/results")
DEFAULT_MICROGRAPHS = Path("../shared/data/micrographs")


@app.callback()
def group() -> None:
    """Measure how well the networks judge."""


@app.command()
def aenet(
    quick: Annotated[
        bool, typer.Option("--quick", help="few frames, under 50 s; writes only with --out")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="of all frames that are drawn")] = 1,
    section: Annotated[
        list[str] | None,
        typer.Option(help="only this one; may be repeated; writes only with --out"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=f"folder for page, numbers, figures; else {DEFAULT_OUT}")
    ] = None,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs")
    ] = DEFAULT_MICROGRAPHS,
    weights: Annotated[Path | None, typer.Option(help="weight file; else the shipped one")] = None,
) -> None:
    """Measure AENet against the truth, real micrographs and its rivals. Exit code 1 if a bar is missed."""
    from afdaemon.evaluate.aenet import SECTIONS
    from afdaemon.evaluate.report import files, verdict
    from afdaemon.models.scorer import load_scorer

    chosen = section or list(SECTIONS)
    _check_sections(chosen, list(SECTIONS))
    folder = out if out or quick or section else DEFAULT_OUT
    if folder:
        _make(folder)
    scorer = load_scorer(weights=weights)
    evaluation = _evaluation(scorer, micrographs, weights, quick=quick, seed=seed)
    measured = list(_measured(evaluation, chosen))
    if folder:
        command = _command(quick=quick, seed=seed, section=section, weights=weights)
        named = files("aenet", "AENet", command, scorer.describe(), measured)
        write_all({folder / name: data for name, data in named.items()}, option="--out")
    bars = [bar for one in measured for bar in one.bars]
    for bar in bars:
        typer.echo(verdict(bar))
    met = sum(bar.holds for bar in bars)
    typer.echo(f"bars met: {met} of {len(bars)}")
    if met < len(bars):
        raise typer.Exit(1)


def _check_sections(chosen: list[str], known: list[str]) -> None:
    for name in chosen:
        if name not in known:
            raise UsageError(
                f"no section is called {name!r}", remedy=f"use one of {', '.join(known)}"
            )


def _make(folder: Path) -> None:
    """Find out before the measuring whether the folder can be had."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}", remedy="give another folder with --out"
        ) from error


def _evaluation(
    scorer: "FocusScorer", micrographs: Path, weights: Path | None, *, quick: bool, seed: int
) -> "Evaluation":
    import torch

    from afdaemon.evaluate.aenet import FULL, QUICK, Evaluation
    from afdaemon.evaluate.judging import AenetJudge
    from afdaemon.models.memory import keep_freed_memory
    from afdaemon.models.zoo import COMPACT, open_scorer
    from afdaemon.sim.dataset import find_micrographs

    keep_freed_memory()
    # Frames are drawn beside it: two threads that wait for each other are slower than one.
    torch.set_num_threads(1)
    found = find_micrographs(micrographs)
    if not found:
        raise UsageError(
            f"there are no micrographs under {micrographs}",
            remedy="name a folder of PNG, JPEG or TIFF micrographs with --micrographs",
        )

    def opened(name: str) -> "FrameScorer":
        return open_scorer(name, weights=weights if name == COMPACT else None)

    return Evaluation(
        judge=AenetJudge(scorer),
        open_scorer=opened,
        micrographs=found,
        plan=QUICK if quick else FULL,
        seed=seed,
        workers=os.cpu_count() or 1,
    )


def _measured(evaluation: "Evaluation", chosen: list[str]) -> "Iterator[Section]":
    """Sections one by one; each is printed as soon as it is there."""
    from afdaemon.evaluate.aenet import SECTIONS

    clock = SystemClock()
    for name, measure in SECTIONS.items():
        if name in chosen:
            began_s = clock.now_s()
            found = measure(evaluation)
            typer.echo("\n".join(["", found.title, *found.lines]))
            typer.echo(f"({name}: {clock.now_s() - began_s:.1f} s)", err=True)
            yield found


def _command(*, quick: bool, seed: int, section: list[str] | None, weights: Path | None) -> str:
    words = ["afdaemon evaluate aenet", "--quick" if quick else "", f"--seed {seed}"]
    words += [f"--section {name}" for name in section or ()]
    words += ["--weights FILE" if weights else "", "--micrographs DIR"]
    return " ".join(word for word in words if word)
