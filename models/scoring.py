"""What every scorer of single frames looks like: networks and classical measures alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.preprocess import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A frame, uint8 or uint16 (H, W), and the control parameters that it was taken with.

    `brightness` and `contrast` are those of the detector (0..1, and a gain around 1), `wd_um` the commanded WD. Most
    scorers look at the pixels alone.
    """

    pixels: Pixels
    magnification: float
    brightness: float = 0.5
    contrast: float = 1.0
    wd_um: float = 20_000.0


class FrameScorer(Protocol):
    """Judges frames one by one: nothing it has seen before counts."""

    @property
    def name(self) -> str:
        """As tables print it, e.g. `AENet.compact` or `Vollath F4`."""

    def scores(self, shots: Sequence[Shot]) -> NDArray[np.float64]:
        """Scores 0..9, (n,), of frames that may differ in size. Raises `ImageError` for one it cannot judge."""
