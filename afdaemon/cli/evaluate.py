"""`afdaemon evaluate`: tables of how well the networks judge, beside the published ones."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from afdaemon.cli.extras import needs
from afdaemon.cli.output import write_all
from afdaemon.clock import SystemClock
from afdaemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from afdaemon.evaluate.acnet.run import Evaluation as AcnetEvaluation
    from afdaemon.evaluate.aenet.run import Evaluation
    from afdaemon.evaluate.section import Section
    from afdaemon.models.scorers.base import FrameScorer
    from afdaemon.models.scorers.focus_scorer import FocusScorer

E = TypeVar("E")

app = typer.Typer(no_args_is_help=True, help="Measure how well the networks judge.")

_DEFAULT_OUT = Path("docs/results")
DEFAULT_MICROGRAPHS = Path("../shared/data/micrographs")


@app.callback()
def group() -> None:
    """Measure how well the networks judge."""


@app.command()
@needs("daemon")
def aenet(
    quick: Annotated[
        bool, typer.Option("--quick", help="few frames, under 50 s; writes only with --out")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed of all frames that are drawn")] = 1,
    section: Annotated[
        list[str] | None,
        typer.Option(help="only this section; may be repeated; writes only with --out"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=f"folder for page, numbers, figures; else {_DEFAULT_OUT}")
    ] = None,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs")
    ] = DEFAULT_MICROGRAPHS,
    weights: Annotated[Path | None, typer.Option(help="weight file; else the shipped one")] = None,
) -> None:
    """Measure AENet against the truth, real micrographs and its rivals. Exit code 1 if a bar is missed."""
    from afdaemon.evaluate.aenet.run import SECTIONS
    from afdaemon.models.scorers.focus_scorer import load_scorer

    chosen = section or list(SECTIONS)
    _check_sections(chosen, list(SECTIONS))
    folder = out if out or quick or section else _DEFAULT_OUT
    if folder:
        _make(folder)
    scorer = load_scorer(weights=weights)
    evaluation = _evaluation(scorer, micrographs, weights, quick=quick, seed=seed)
    measured = list(
        _measured({name: SECTIONS[name] for name in SECTIONS if name in chosen}, evaluation)
    )
    command = _command(quick=quick, seed=seed, section=section, weights=weights)
    _close("AENet", command, scorer, measured, folder)


@app.command()
@needs("daemon")
def acnet(
    quick: Annotated[
        bool, typer.Option("--quick", help="few jobs, a few minutes; writes only with --out")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed of all that is drawn")] = 1,
    out: Annotated[
        Path | None, typer.Option(help=f"folder for page, numbers, figures; else {_DEFAULT_OUT}")
    ] = None,
    micrographs: Annotated[
        Path | None, typer.Option(help="folder of real micrographs: held-back ones are tried too")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="weights of published, ours, without-score or without-variance-entropy; may be repeated",
        ),
    ] = None,
) -> None:
    """Measure ACNet offline and online, as the paper did. Exit code 1 if a bar is missed."""
    from afdaemon.evaluate.acnet.run import SECTIONS
    from afdaemon.models.scorers.focus_scorer import load_scorer

    folder = out if out or quick else _DEFAULT_OUT
    if folder:
        _make(folder)
    named = _named_files(weights or [])
    scorer = load_scorer()
    evaluation = _acnet_evaluation(scorer, named, micrographs, quick=quick, seed=seed)
    words = ["afdaemon evaluate acnet", "--quick" if quick else "", f"--seed {seed}"]
    words += [f"--weights {name}=FILE" for name in named]
    words += ["--micrographs DIR" if micrographs else ""]
    command = " ".join(word for word in words if word)
    _close("ACNet", command, scorer, list(_measured(SECTIONS, evaluation)), folder)


def _close(
    title: str,
    command: str,
    scorer: "FocusScorer",
    measured: "list[Section]",
    folder: Path | None,
) -> None:
    """Write the files, say which bars were met, and exit with 1 if one was missed."""
    from afdaemon.evaluate.report import files, verdict

    if folder:
        named = files(title.lower(), title, command, scorer.describe(), measured)
        write_all({folder / name: data for name, data in named.items()}, option="--out")
    bars = [bar for one in measured for bar in one.bars]
    for bar in bars:
        typer.echo(verdict(bar))
    met = sum(bar.holds for bar in bars)
    typer.echo(f"bars met: {met} of {len(bars)}")
    if met < len(bars):
        raise typer.Exit(1)


def _named_files(weights: list[str]) -> dict[str, Path]:
    """Weight files by their rows."""
    from afdaemon.evaluate.acnet.policies import NAMES

    named = {}
    for one in weights:
        name, equals, file = one.partition("=")
        if name not in NAMES or not (equals and file):
            raise UsageError(
                f"--weights takes NAME=FILE, not {one!r}",
                remedy=f"name one of {', '.join(NAMES)}",
            )
        named[name] = Path(file)
    return named


def _acnet_evaluation(
    scorer: "FocusScorer",
    weights: dict[str, Path],
    micrographs: Path | None,
    *,
    quick: bool,
    seed: int,
) -> "AcnetEvaluation":
    from afdaemon.evaluate.acnet.policies import players
    from afdaemon.evaluate.acnet.run import FULL, QUICK, Evaluation

    _one_thread()
    return Evaluation(
        scorer=scorer,
        players=players(weights),
        micrographs=_found(micrographs) if micrographs else [],
        plan=QUICK if quick else FULL,
        seed=seed,
        workers=1,
    )


def _check_sections(chosen: list[str], known: list[str]) -> None:
    for name in chosen:
        if name not in known:
            raise UsageError(
                f"no section is called {name!r}", remedy=f"use one of {', '.join(known)}"
            )


def _make(folder: Path) -> None:
    """Find out before measuring whether the folder can be created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be created: {error.strerror}", remedy="give another folder with --out"
        ) from error


def _evaluation(
    scorer: "FocusScorer", micrographs: Path, weights: Path | None, *, quick: bool, seed: int
) -> "Evaluation":
    from afdaemon.evaluate.aenet.run import FULL, QUICK, Evaluation
    from afdaemon.evaluate.judged import AenetJudge
    from afdaemon.models.scorers.zoo import COMPACT, open_scorer

    _one_thread()
    found = _found(micrographs)

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


def _one_thread() -> None:
    """Frames are drawn while the network runs: two threads that wait for each other are slower than one."""
    import torch

    from afdaemon.models.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)


def _found(folder: Path) -> list[Path]:
    """The micrographs of a folder that must hold some."""
    from afdaemon.sim.datasets.frames import find_micrographs

    found = find_micrographs(folder)
    if not found:
        raise UsageError(
            f"there are no micrographs under {folder}",
            remedy="name a folder of PNG, JPEG or TIFF micrographs with --micrographs",
        )
    return found


def _measured(
    sections: "Mapping[str, Callable[[E], Section]]", evaluation: E
) -> "Iterator[Section]":
    """Sections one by one; each is printed as soon as it is there."""
    clock = SystemClock()
    for name, measure in sections.items():
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
