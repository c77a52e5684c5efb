"""Pictures of single jobs: the score over the working distance, and where the readings fell."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from focus_player import player
from focus_runs import Start, sweep, tasks

_REACH_DOF = 25.0
_START = Start(reach_dof=20.0)


def draw_curves(micrographs: Sequence[Path], seed: int, file: Path) -> None:
    """The first job of each specimen by the fast procedure, PNG; readings are numbered."""
    from matplotlib.figure import Figure

    drawn = list(islice(tasks(6, _START, micrographs, seed=seed), 6 if micrographs else 5))
    figure = Figure(figsize=(13.0, 7.0), layout="constrained")
    places_dof = np.linspace(-_REACH_DOF, _REACH_DOF, 61)
    for axes, task in zip(figure.subplots(2, 3).flat, drawn, strict=False):
        run, trace = player().play_traced(task, "fast", calibrated=True)
        focus_um = task.settings.focus_wd_um or 0.0
        away = [(point.reading.wd_um - focus_um) / run.dof_um for point in trace]
        axes.plot(places_dof, sweep(task, player().scorer, places_dof), color="tab:grey")
        axes.plot(away, [point.score for point in trace], "o", color="tab:blue")
        for number, (place, point) in enumerate(zip(away, trace, strict=True), 1):
            axes.annotate(f" {number}", (place, point.score))
        axes.set_title(f"{run.specimen}, {run.magnification}x")
        axes.set_xlabel("WD from focus (DoF)")
        axes.set_ylabel("score")
        axes.set_ylim(0.0, 9.0)
    figure.savefig(file, dpi=90)
