"""`afdaemon train posterior`: the network that says where the focus lies, from simulated scenes."""

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

    from afdaemon.models.defocus.posterior.bank import Bank
    from afdaemon.models.defocus.posterior.tokens import Posterior
    from afdaemon.models.defocus.posterior.train import Moves
    from afdaemon.models.scorers.focus_scorer import FocusScorer

_BLOCK = 200
_VARIETY: dict[str, Any] = {"read_noise": (0.5, 15.0), "astigmatic_share": 0.6}
_RECIPE: dict[str, Any] = {
    "uneven_share": 0.35,
    "magnifications": (300.0, 40_000.0),
    "weights": {
        "tin_balls": 0.1,
        "tem_grid": 0.1,
        "gold_nanoparticles": 0.1,
        "mixture": 0.1,
        "ruled": 0.12,
        "lattice": 0.14,
        "sparse": 0.03,
        "layers": 0.05,
        "facets": 0.04,
        "micrograph": 0.18,
        "empty": 0.04,
    },
}
"""More of what misleads than AENet sees: lattices that come back sharp past the first zero, uneven ground without a
single focus, and fields with nothing to focus."""


@needs("daemon")
def posterior(
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    scenes: Annotated[int, typer.Option(min=2, help="scenes to image and measure")] = 3000,
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds of training")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
    measured: Annotated[
        Path | None, typer.Option(help="file of measured scenes: used if it is there, else written")
    ] = None,
) -> None:
    """Train a posterior over the whole range, on scenes scored by the shipped AENet. No procedure uses it yet."""
    from afdaemon.models.checkpoint import WEIGHTS_FOLDER
    from afdaemon.models.defocus.posterior import train as train_posterior
    from afdaemon.models.memory import keep_freed_memory

    keep_freed_memory()
    recipe = train_posterior.TrainConfig(seed=seed)
    config = replace(recipe, rounds=rounds or recipe.rounds)
    clock = SystemClock()
    began_s = clock.now_s()
    (bank, unseen), data = surveyed(
        _survey(), split_micrographs(micrographs), scenes, seed, measured
    )
    with progress_bar("posterior") as update:
        network = train_posterior.train(config, bank, decide, update)
    metrics = {
        f"from_{start:g}_dof_{'calibrated' if share else 'uncalibrated'}": train_posterior.evaluate(
            network, unseen, replace(config, starts_dof=(start,), calibrated_share=share), decide
        )
        for start, share in itertools.product((20.0, 75.0), (1.0, 0.0))
    }
    for name, figures in metrics.items():
        typer.echo(f"{name}: {figures}")
    seconds = clock.now_s() - began_s
    usual = WEIGHTS_FOLDER / "posterior.safetensors"
    path = file_to_write(out, usual)
    train_posterior.save(network, path, config=config, data=data, metrics=metrics, seconds=seconds)
    typer.echo(told_where(path, usual, seconds))


def decide(told: "Posterior", read_dof: "NDArray[np.float64]") -> "Moves":
    """The service's own rule, as training plays it."""
    from afdaemon.control.fast.aim.profile import MISS_COST
    from afdaemon.control.fast.aim.rule import advise

    return advise(told, read_dof, MISS_COST)


def _survey() -> "Survey[Bank]":
    from afdaemon.models.defocus.posterior.bank import DISTANCES_DOF, Bank

    return Survey(
        kind=Bank,
        places_dof=DISTANCES_DOF,
        read=_read,
        variety=_VARIETY,
        recipe=_RECIPE,
        block=_BLOCK,
    )


def _read(scorer: "FocusScorer", seen: Imaged) -> "tuple[NDArray[np.float64], ...]":
    """Spectra (41, 18); u, logarithm of its error, contrast and doubt (41,); whether there is something to focus."""
    import numpy as np

    from afdaemon.models.optics import u_of_score
    from afdaemon.sim.specimens.catalogue import NOTHING

    told = scorer.score_many(list(seen.frames), [seen.magnification] * len(seen.frames))
    return (
        np.array([one.bands for one in told]),
        np.array([u_of_score(one.score) for one in told]),
        np.array([np.log(one.expected_error) for one in told]),
        np.array([one.contrast for one in told]),
        np.array([float(bool(one.doubt)) for one in told]),
        np.array(float(seen.name != NOTHING)),
    )
