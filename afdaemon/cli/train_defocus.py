"""`afdaemon train defocus`: the fast procedure's network, from spectra of simulated scenes."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.cli.training import DEFAULT_MICROGRAPHS, names_of, progress_bar, split_micrographs
from afdaemon.clock import SystemClock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from afdaemon.models.scorer import FocusScorer
    from afdaemon.models.train_defocus import DefocusBank, Moves
    from afdaemon.sim.scenes import Scene

    _Sitting = tuple[Scene, NDArray[np.float64], int]

_READ_NOISE = (0.5, 15.0)
_ASTIGMATIC_SHARE = 0.6


def defocus(
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    scenes: Annotated[int, typer.Option(min=2, help="scenes to image and measure")] = 5000,
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds of training")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
) -> None:
    """Train the network of the fast procedure on scenes scored by the shipped AENet (about an hour on two cores)."""
    from afdaemon.models import train_defocus
    from afdaemon.models.checkpoint import WEIGHTS_FOLDER
    from afdaemon.models.memory import keep_freed_memory
    from afdaemon.models.scorer import load_scorer

    keep_freed_memory()
    used, kept = split_micrographs(micrographs)
    recipe = train_defocus.TrainConfig(seed=seed)
    config = replace(recipe, rounds=rounds or recipe.rounds)
    clock = SystemClock()
    began_s = clock.now_s()
    scorer = load_scorer()
    with progress_bar("scenes") as update:
        bank = measured(scorer, used, scenes, seed, lambda n: update(n, scenes, 0.0))
        unseen = measured(scorer, kept, max(2, scenes // 10), seed + 777, lambda _: None)
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
    data = {
        "source": "simulated scenes, afdaemon.sim.dataset",
        "scenes": scenes,
        "read_noise": _READ_NOISE,
        "astigmatic_share": _ASTIGMATIC_SHARE,
        "micrographs": names_of(used),
        "scored_by": scorer.card.sha256,
    }
    seconds = clock.now_s() - began_s
    path = out or WEIGHTS_FOLDER / "defocus.safetensors"
    train_defocus.save(network, path, config=config, data=data, metrics=metrics, seconds=seconds)
    typer.echo(f"wrote {path} after {seconds / 60:.1f} min")


def decide(mass: "NDArray[np.float32]", count: "NDArray[np.int64]") -> "Moves":
    """The service's own moves, as training plays them."""
    from afdaemon.control.belief import advise
    from afdaemon.control.fast_profile import FAST

    return advise(mass, count, FAST)


def measured(
    scorer: "FocusScorer",
    micrographs: list[Path],
    count: int,
    seed: int,
    on_scene: Callable[[int], None],
) -> "DefocusBank":
    """`count` scenes, each imaged at `DISTANCES_DOF` on either side, with spectra and AENet's answers."""
    import numpy as np

    from afdaemon.evaluate.judging import drawn
    from afdaemon.models.defocus_state import u_of
    from afdaemon.models.preprocess import to_unit
    from afdaemon.models.spectrum import band_powers
    from afdaemon.models.train_defocus import DISTANCES_DOF, DefocusBank
    from afdaemon.sim.dataset import HARSH, Recipe, Scenery

    variety = replace(HARSH, read_noise=_READ_NOISE, astigmatic_share=_ASTIGMATIC_SHARE)
    rng = np.random.default_rng(seed)
    scenery = Scenery(replace(Recipe(), variety=variety), micrographs, rng)
    bands, us, errors = [], [], []

    def imaged(sitting: "_Sitting") -> "tuple[float, NDArray[np.uint8]]":
        scene, away_dof, noise_seed = sitting
        noise = np.random.Generator(np.random.SFC64(noise_seed))
        return scene.view.magnification, scene.over_wd(away_dof, noise)

    sittings = (
        (
            scenery.next_scene(),
            DISTANCES_DOF * rng.choice((-1.0, 1.0), len(DISTANCES_DOF)),
            int(rng.integers(2**31)),
        )
        for _ in range(count)
    )
    for number, (magnification, frames) in enumerate(drawn(imaged, sittings, workers=1)):
        told = scorer.score_many(list(frames), [magnification] * len(frames))
        bands.append(band_powers(to_unit(frames)))
        us.append([u_of(score.score) for score in told])
        errors.append([np.log(score.expected_error) for score in told])
        on_scene(number + 1)
    return DefocusBank(
        np.array(bands, np.float32), np.array(us, np.float32), np.array(errors, np.float32)
    )
