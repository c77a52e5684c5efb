"""`afdaemon train classical`: the linear maps from classical focus functions to scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from afdaemon.cli.extras import needs
from afdaemon.cli.train.common import file_to_write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from afdaemon.models.scorers.linear_map import LinearMap
    from afdaemon.sim.datasets.dataset1 import Dataset1

    Values = dict[str, NDArray[np.float64]]
    Scores = NDArray[np.float64]

_FRAMES = 4
"""Per scene: a map of two numbers learns more from other scenes than from other frames."""


@needs("daemon")
def classical(
    out: Annotated[Path | None, typer.Option(help="file to write")] = None,
    scenes: Annotated[
        int, typer.Option(min=2, max=1250, help="scenes of each specimen to draw from Dataset 1")
    ] = 30,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """Fit the classical focus functions to the scores of Dataset 1's training part (about two minutes)."""
    from afdaemon.models.scorers import linear_map
    from afdaemon.sim.datasets.dataset1 import Dataset1

    dataset = Dataset1(seed=seed, scenes_per_specimen=scenes, frames_per_scene=_FRAMES)
    values, scores = _measured(dataset)
    maps = {name: linear_map.fit(measured, scores) for name, measured in values.items()}
    metrics = _rmse(maps, values, scores)
    path = file_to_write(out, linear_map.FITTED_MAPS)
    training = {
        "data": "training part of Dataset 1, afdaemon.sim.datasets.dataset1",
        "seed": seed,
        "scenes_per_specimen": scenes,
        "frames_per_scene": dataset.frames_per_scene,
        "frames": len(scores),
    }
    linear_map.write_maps(maps, training=training, metrics=metrics, path=path)
    _print_table(maps, metrics["rmse"])
    typer.echo(f"fitted on {len(scores)} frames; wrote {path}")


def _measured(dataset: "Dataset1") -> "tuple[Values, Scores]":
    """Every focus function of every frame of the training part, and the frames' true scores; each (n,)."""
    import numpy as np

    from afdaemon.models.frames.shot import Shot, judged_image
    from afdaemon.models.optics import score_of_blur
    from afdaemon.models.scorers.classical import CLASSICAL, measure
    from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, Part

    scenes = sum(len(dataset.scenes(Part.TRAIN, s)) for s in PUBLISHED_MAGNIFICATIONS)
    values: dict[str, list[float]] = {name: [] for name in CLASSICAL}
    scores = []
    for frames in track(dataset.part(Part.TRAIN), "classical", total=scenes):
        scores.append(score_of_blur(frames.blur_px))
        for pixels, magnification in zip(frames.pixels, frames.magnification, strict=True):
            image = judged_image(Shot(pixels=pixels, magnification=float(magnification)))
            for name in CLASSICAL:
                values[name].append(measure(name, image))
    arrays = {name: np.array(measured) for name, measured in values.items()}
    return arrays, np.concatenate(scores, dtype=np.float64)


def _rmse(
    maps: "dict[str, LinearMap]", values: "Values", scores: "Scores"
) -> dict[str, dict[str, float]]:
    import numpy as np

    errors = {name: linear.scores(values[name]) - scores for name, linear in maps.items()}
    return {"rmse": {name: round(float(np.sqrt(np.mean(e**2))), 4) for name, e in errors.items()}}


def _print_table(maps: "dict[str, LinearMap]", rmse: dict[str, Any]) -> None:
    table = Table("measure", "slope", "offset", "RMSE")
    for name, linear in maps.items():
        table.add_row(name, f"{linear.slope:.5g}", f"{linear.offset:.3f}", f"{rmse[name]:.3f}")
    Console().print(table)
