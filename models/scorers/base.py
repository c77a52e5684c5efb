"""The interface of all scorers of single frames, networks and classical measures alike."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.frames.shot import Shot


class FrameScorer(Protocol):
    """Judges each frame by itself, whatever it has judged before."""

    @property
    def name(self) -> str:
        """As tables print it, e.g. `AENet.compact` or `Vollath F4`."""

    def scores(self, shots: Sequence[Shot]) -> NDArray[np.float64]:
        """Scores 0..9, (n,), of frames that may differ in size. Raises `ImageError` for one it cannot judge."""
