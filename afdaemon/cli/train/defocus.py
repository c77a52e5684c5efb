"""`afdaemon train defocus`: the fast procedure's network, from spectra of simulated scenes."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdaemon.cli.extras import needs
from afdaemon.cli.train.common import (
    DEFAULT_MICROGRAPHS,
    file_to_write,
    progress_bar,
    split_micrographs,
    told_where,
)
from afdaemon.cli.train.survey import Imaged, Survey, surveyed
from afdaemon.clock import SystemClock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from afdaemon.models.defocus.scenes import DefocusBank
    from afdaemon.models.defocus.state import Posterior
    from afdaemon.models.defocus.train import Moves
    from afdaemon.models.scorers.focus_scorer import FocusScorer

_BLOCK = 500
_VARIETY: dict[str, Any] = {"read_noise": (0.5, 15.0), "astigmatic_share": 0.6}
_RECIPE: dict[str, Any] = {
    "uneven_share": 0.35,
    "weights": {
        "tin_balls": 0.14,
        "tem_grid": 0.14,
        "gold_nanoparticles": 0.14,
        "mixture": 0.14,
        "ruled": 0.2,
        "micrograph": 0.24,
    },
}
"""More mixtures, ruled patterns and micrographs than AENet sees, and uneven ground: a relief has no single focus."""


@needs("daemon")
def defocus(
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    scenes: Annotated[int, typer.Option(min=2, help="scenes to image and measure")] = 3500,
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds of training")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
    measured: Annotated[
        Path | None, typer.Option(help="file of measured scenes: used if it is there, else written")
    ] = None,
) -> None:
    """Train the network of the fast procedure on scenes scored by the shipped AENet (about 50 minutes on one core)."""
    from afdaemon.models.checkpoint import WEIGHTS_FOLDER
    from afdaemon.models.defocus import train as train_defocus
    from afdaemon.models.memory import keep_freed_memory

    keep_freed_memory()
    recipe = train_defocus.TrainConfig(seed=seed)
    config = replace(recipe, rounds=rounds or recipe.rounds)
    clock = SystemClock()
    began_s = clock.now_s()
    (bank, unseen), data = surveyed(
        _survey(), split_micrographs(micrographs), scenes, seed, measured
    )
    with progress_bar("defocus") as update:
        network = train_defocus.train(config, bank, decide, update)
    metrics = {
        f"from_{start:g}_dof_{'calibrated' if share else 'uncalibrated'}": train_defocus.evaluate(
            network, unseen, replace(config, starts_dof=(start,), calibrated_share=share), decide
        )
        for start, share in itertools.product((20.0, 75.0), (1.0, 0.0))
    }
    for name, figures in metrics.items():
        typer.echo(f"{name}: {figures}")
    seconds = clock.now_s() - began_s
    usual = WEIGHTS_FOLDER / "defocus.safetensors"
    path = file_to_write(out, usual)
    train_defocus.save(network, path, config=config, data=data, metrics=metrics, seconds=seconds)
    typer.echo(told_where(path, usual, seconds))


def decide(posterior: "Posterior", count: "NDArray[np.int64]") -> "Moves":
    """The service's own moves, as training plays them."""
    from afdaemon.control.fast.posterior import advise
    from afdaemon.control.fast.profile import FAST

    return advise(posterior, count, FAST)


def _survey() -> "Survey[DefocusBank]":
    import numpy as np

    from afdaemon.models.defocus.scenes import DISTANCES_DOF, DefocusBank

    return Survey(
        kind=DefocusBank,
        places_dof=np.concatenate([DISTANCES_DOF, -DISTANCES_DOF]),
        read=_read,
        variety=_VARIETY,
        recipe=_RECIPE,
        block=_BLOCK,
    )


def _read(scorer: "FocusScorer", seen: Imaged) -> "tuple[NDArray[np.float64], ...]":
    """Spectra (2, 20, 18), u and logarithm of its error (2, 20)."""
    import numpy as np

    from afdaemon.models.defocus.scenes import FRAMES
    from afdaemon.models.frames.preprocess import to_unit
    from afdaemon.models.frames.spectrum import band_powers
    from afdaemon.models.optics import u_of_score

    told = scorer.score_many(list(seen.frames), [seen.magnification] * len(seen.frames))
    each = (
        np.asarray(band_powers(to_unit(seen.frames)), np.float64),
        np.array([u_of_score(score.score) for score in told]),
        np.array([np.log(score.expected_error) for score in told]),
    )
    return tuple(part.reshape(FRAMES, -1, *part.shape[1:]) for part in each)
