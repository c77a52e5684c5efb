"""`afdaemon train acnet`: the policy, from focus series that the shipped AENet has scored."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.cli.training import DEFAULT_MICROGRAPHS, names_of, progress_bar, split_micrographs
from afdaemon.clock import SystemClock

if TYPE_CHECKING:
    from afdaemon.models.scorer import FocusScorer
    from afdaemon.models.train_acnet import FocusSeries


def acnet(
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    series: Annotated[int, typer.Option(min=10, help="focus series to image and score")] = 160,
    episodes: Annotated[int | None, typer.Option(min=1, help="training episodes")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
) -> None:
    """Train ACNet on focus series scored by the shipped AENet (about 10 minutes on two cores)."""
    from afdaemon.models import train_acnet
    from afdaemon.models.checkpoint import WEIGHTS_FOLDER
    from afdaemon.models.memory import keep_freed_memory
    from afdaemon.models.scorer import load_scorer

    keep_freed_memory()
    used, kept = split_micrographs(micrographs)
    recipe = train_acnet.TrainConfig(seed=seed)
    config = replace(recipe, episodes=episodes or recipe.episodes)
    clock = SystemClock()
    began_s = clock.now_s()
    scorer = load_scorer()
    with progress_bar("series") as update:
        bank = _scored_series(scorer, used, series, seed, lambda n: update(n, series, 0.0))
        unseen = _scored_series(scorer, kept, series // 4, seed + 777, lambda _: None)
    with progress_bar("ACNet") as update:
        network = train_acnet.train(config, bank, update)
    metrics = train_acnet.evaluate(network, unseen, config)
    typer.echo(f"unseen series: {metrics}")
    data = {
        "source": "simulated focus series, afdaemon.sim.series",
        "series": series,
        "micrographs": names_of(used),
        "scored_by": scorer.card.sha256,
    }
    seconds = clock.now_s() - began_s
    path = out or WEIGHTS_FOLDER / "acnet.safetensors"
    train_acnet.save(network, path, config=config, data=data, metrics=metrics, seconds=seconds)
    typer.echo(f"wrote {path} after {seconds / 60:.1f} min")


def _scored_series(
    scorer: "FocusScorer",
    micrographs: list[Path],
    count: int,
    seed: int,
    on_series: Callable[[int], None],
) -> "list[FocusSeries]":
    """Image `count` focus series and score every frame of them."""
    import numpy as np

    from afdaemon.models.train_acnet import FocusSeries
    from afdaemon.sim.series import focus_series

    scored = []
    for imaged in itertools.islice(focus_series(micrographs, seed=seed), count):
        readings = scorer.score_many(
            list(imaged.pixels), [imaged.magnification] * len(imaged.pixels)
        )
        scored.append(
            FocusSeries(
                magnification=imaged.magnification,
                dof_um=imaged.dof_um,
                offset_um=imaged.offset_um,
                score=np.array([r.score for r in readings]),
                variance=np.array([r.variance for r in readings]),
                entropy=np.array([r.entropy for r in readings]),
            )
        )
        on_series(len(scored))
    return scored
