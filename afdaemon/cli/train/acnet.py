"""`afdaemon train acnet`: the policy, from focus series that the shipped AENet has scored."""

from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdaemon.cli.extras import needs
from afdaemon.cli.train.common import (
    DEFAULT_MICROGRAPHS,
    RUNS,
    names_of,
    progress_bar,
    split_micrographs,
    told_where,
)
from afdaemon.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from afdaemon.models.acnet.focus_series import FocusSeries
    from afdaemon.models.acnet.presets import AcnetPreset
    from afdaemon.models.scorers.focus_scorer import FocusScorer
    from afdaemon.sim.datasets.series import ImagedSeries

_UNSEEN_SEED, _UNSEEN_SHARE = 777, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    """What is learned from: `scored` is the file that keeps the series."""

    preset: "AcnetPreset"
    micrographs: tuple[list[Path], list[Path]]
    seed: int
    scored: Path | None


@needs("daemon")
def acnet(
    preset: Annotated[
        str, typer.Option(help="ours, or published: as Lee et al. 2021 describe it")
    ] = "ours",
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    series: Annotated[
        int | None, typer.Option(min=10, help="focus series to image and score")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="training episodes")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="score, variance or entropy, which ACNet is not to see; may be repeated"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
    scored: Annotated[
        Path | None, typer.Option(help="file of scored series: used if it is there, else written")
    ] = None,
) -> None:
    """Train ACNet on focus series scored by the shipped AENet (about 10 minutes on two cores)."""
    from afdaemon.models.acnet import presets as acnet_presets
    from afdaemon.models.acnet import train as train_acnet
    from afdaemon.models.acnet.policy import DEFAULT_WEIGHTS
    from afdaemon.models.memory import keep_freed_memory
    from afdaemon.models.training.presets import one_called

    keep_freed_memory()
    chosen = one_called(preset, acnet_presets.PRESETS)
    chosen = replace(chosen, series=series or chosen.series)
    own = chosen.config
    config = replace(
        own, episodes=episodes or own.episodes, without=tuple(without or ()), seed=seed
    )
    clock = SystemClock()
    began_s = clock.now_s()
    data = _Data(
        preset=chosen, micrographs=split_micrographs(micrographs), seed=seed, scored=scored
    )
    learn_from, judge_by, told = _series(data)
    with progress_bar("ACNet") as update:
        network = train_acnet.train(config, learn_from, update)
    metrics = train_acnet.evaluate(network, judge_by, config)
    typer.echo(f"unseen series: {metrics}")
    seconds = clock.now_s() - began_s
    path = out or _own_file(preset, config.without)
    notes = {"preset": preset, "source": chosen.source, "data": told}
    train_acnet.save(network, path, config=config, notes=notes, metrics=metrics, seconds=seconds)
    typer.echo(told_where(path, DEFAULT_WEIGHTS, seconds))


def _own_file(preset: str, without: tuple[str, ...]) -> Path:
    """A file under `runs/`, named after what was trained."""
    from afdaemon.models.acnet.presets import OURS

    words = ["acnet", *([preset] if preset != OURS or without else [])]
    words += [f"without_{kind}" for kind in without]
    return RUNS / f"{'_'.join(words)}.safetensors"


def _series(data: _Data) -> "tuple[list[FocusSeries], list[FocusSeries], dict[str, Any]]":
    """Series to learn from, unseen ones to judge by, and what the card says about them."""
    from afdaemon.models.acnet.focus_series import load_series, save_series, splined
    from afdaemon.models.scorers.focus_scorer import load_scorer

    scorer = load_scorer()
    used = [] if data.preset.dataset2 else data.micrographs[0]
    told = {
        "source": "simulated focus series, afdaemon.sim.datasets.series",
        "dataset2": data.preset.dataset2,
        "series": data.preset.series,
        "seed": data.seed,
        "micrographs": names_of(used),
        "scored_by": scorer.card.sha256,
    }
    if data.scored is not None and data.scored.exists():
        found = load_series(data.scored, told)
    else:
        found = _scored(data, scorer)
        if data.scored is not None:
            save_series(data.scored, found, told)
    filled = [splined(one) for one in found] if data.preset.dataset2 else found
    return filled[: data.preset.series], filled[data.preset.series :], told


def _scored(data: _Data, scorer: "FocusScorer") -> "list[FocusSeries]":
    """Image and score the series to learn from, then a quarter as many to judge by."""
    from afdaemon.evaluate.series import scored

    learn_from, judge_by = data.preset.series, data.preset.series // _UNSEEN_SHARE
    used, kept = data.micrographs
    imaged = chain(
        islice(_imaged(data, used, data.seed), learn_from),
        islice(_imaged(data, kept, data.seed + _UNSEEN_SEED), judge_by),
    )
    found = []
    with progress_bar("series") as update:
        for one in imaged:
            found.append(scored(scorer, one))
            update(len(found), learn_from + judge_by, 0.0)
    return found


def _imaged(data: _Data, micrographs: list[Path], seed: int) -> "Iterator[ImagedSeries]":
    """An endless sequence of series, as the preset has them."""
    from afdaemon.sim.datasets.series import dataset2, focus_series

    return dataset2(seed=seed) if data.preset.dataset2 else focus_series(micrographs, seed=seed)
