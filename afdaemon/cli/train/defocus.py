"""`afdaemon train defocus`: the fast procedure's network, from spectra of simulated scenes."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdaemon.cli.train.common import (
    DEFAULT_MICROGRAPHS,
    file_to_write,
    names_of,
    progress_bar,
    split_micrographs,
    told_where,
)
from afdaemon.clock import SystemClock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from afdaemon.models.defocus.scenes import DefocusBank
    from afdaemon.models.defocus.state import Posterior
    from afdaemon.models.defocus.train import Moves
    from afdaemon.models.scorers.focus_scorer import FocusScorer
    from afdaemon.sim.datasets.frames import Scenery
    from afdaemon.sim.datasets.scenes import Scene

_BANKS = ("used", "kept")
_KEPT_SEED, _KEPT_SHARE = 777, 10
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
    (bank, unseen), data = _banks(split_micrographs(micrographs), scenes, seed, measured)
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


def _banks(
    micrographs: tuple[list[Path], list[Path]], scenes: int, seed: int, measured: Path | None
) -> "tuple[list[DefocusBank], dict[str, Any]]":
    """Scenes to learn from, unseen ones of held-back micrographs, and what the card says about them."""
    from afdaemon.models.defocus.scenes import load_banks, save_banks
    from afdaemon.models.scorers.focus_scorer import load_scorer

    scorer, (used, kept) = load_scorer(), micrographs
    told = {
        "source": "simulated scenes, afdaemon.sim.datasets.frames",
        "scenes": scenes,
        "seed": seed,
        **_VARIETY,
        **_RECIPE,
        "micrographs": names_of(used),
        "scored_by": scorer.card.sha256,
    }
    if measured is not None and measured.exists():
        return load_banks(measured, _BANKS, told), told
    with progress_bar("scenes") as update:
        many = _measured(scorer, used, scenes, seed, lambda n: update(n, scenes, 0.0))
        few = max(2, scenes // _KEPT_SHARE)
        unseen = _measured(scorer, kept, few, seed + _KEPT_SEED, lambda _: None)
    if measured is not None:
        save_banks(measured, dict(zip(_BANKS, (many, unseen), strict=True)), told)
    return [many, unseen], told


def _measured(
    scorer: "FocusScorer",
    micrographs: list[Path],
    count: int,
    seed: int,
    on_scene: Callable[[int], None],
) -> "DefocusBank":
    """`count` scenes, each imaged at `DISTANCES_DOF` on either side, with spectra and AENet's answers."""
    from afdaemon.models.defocus.scenes import joined

    starts = range(0, count, _BLOCK)
    return joined(
        [
            _measured_block(
                scorer, micrographs, min(_BLOCK, count - start), (seed, start), on_scene
            )
            for start in starts
        ]
    )


def _measured_block(
    scorer: "FocusScorer",
    micrographs: list[Path],
    count: int,
    seed: tuple[int, int],
    on_scene: Callable[[int], None],
) -> "DefocusBank":
    """The scenes of one block, with `seed[1]` scenes before it: the same whichever process measures it."""
    import numpy as np

    from afdaemon.evaluate.judged import drawn
    from afdaemon.models.defocus.scenes import DefocusBank

    rng = np.random.default_rng(seed)
    scenery = _scenery(micrographs, rng)
    sittings = ((scenery.next_scene(), int(rng.integers(2**31))) for _ in range(count))
    measured = []
    for magnification, frames in drawn(_imaged, sittings, workers=1):
        measured.append(_read(scorer, frames, magnification))
        on_scene(seed[1] + len(measured))
    bands, u, log_error = (np.array(part, np.float32) for part in zip(*measured, strict=True))
    return DefocusBank(bands, u, log_error)


def _imaged(sitting: "tuple[Scene, int]") -> "tuple[float, NDArray[np.uint8]]":
    """A scene's magnification and its frames at each distance on one side, then on the other."""
    import numpy as np

    from afdaemon.models.defocus.scenes import DISTANCES_DOF

    scene, noise_seed = sitting
    noise = np.random.Generator(np.random.SFC64(noise_seed))
    both = np.concatenate([DISTANCES_DOF, -DISTANCES_DOF])
    return scene.view.magnification, scene.over_wd(both, noise)


def _read(
    scorer: "FocusScorer", frames: "NDArray[np.uint8]", magnification: float
) -> "tuple[NDArray[np.float64], ...]":
    """Spectra (2, 20, 18), u and logarithm of its error (2, 20)."""
    import numpy as np

    from afdaemon.models.defocus.scenes import FRAMES
    from afdaemon.models.frames.preprocess import to_unit
    from afdaemon.models.frames.spectrum import band_powers
    from afdaemon.models.optics import u_of_score

    told = scorer.score_many(list(frames), [magnification] * len(frames))
    each = (
        np.asarray(band_powers(to_unit(frames)), np.float64),
        np.array([u_of_score(score.score) for score in told]),
        np.array([np.log(score.expected_error) for score in told]),
    )
    return tuple(part.reshape(FRAMES, -1, *part.shape[1:]) for part in each)


def _scenery(micrographs: list[Path], rng: "np.random.Generator") -> "Scenery":
    from afdaemon.sim.datasets.frames import HARSH, Recipe, Scenery

    recipe = replace(Recipe(), variety=replace(HARSH, **_VARIETY), **_RECIPE)
    return Scenery(recipe, micrographs, rng)
