"""What lies under the beam: the electrons that each spot gives off, and how high it stands.

A specimen draws any rectangle of itself from its seed alone, at any pixel size. Height counts towards the lens: a spot
that stands h um above the specimen's plane is in focus at a working distance that is h um shorter.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A rectangle of the specimen to draw: its top left corner and step in um, its size in drawing pixels."""

    left_um: float
    top_um: float
    step_um: float
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """A drawn patch; every image is float32 (height, width).

    `secondary` and `backscatter` are the yields that the two detectors see, about 0..1 (topography and edges in the
    one, composition in the other); None: as the secondary yield. `height_um` is None if the patch is flat. `charging`
    is how strongly a spot charges, 0..1; None if nothing does.
    """

    secondary: FloatImage
    backscatter: FloatImage | None = None
    height_um: FloatImage | None = None
    charging: FloatImage | None = None


class Specimen(Protocol):
    """Something under the beam."""

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        ...
