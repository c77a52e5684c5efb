"""Focus series of the simulator, read by AENet: what ACNet learns from, and what it is tested on."""

import numpy as np

from afdaemon.models.acnet.focus_series import FocusSeries
from afdaemon.models.scorers.focus_scorer import FocusScorer
from afdaemon.sim.datasets.series import ImagedSeries


def scored(scorer: FocusScorer, imaged: ImagedSeries) -> FocusSeries:
    """What is measured in every frame of a series."""
    told = scorer.score_many(list(imaged.pixels), [imaged.magnification] * len(imaged.pixels))
    return FocusSeries(
        magnification=imaged.magnification,
        dof_um=imaged.dof_um,
        offset_um=imaged.offset_um,
        score=np.array([one.score for one in told]),
        variance=np.array([one.contrast for one in told]),
        entropy=np.array([one.entropy for one in told]),
    )
