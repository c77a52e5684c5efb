"""The frames of one job, side by side: what stays the same in them while the WD moves is drawn into the picture.

A print in black or white is known by sight (`afdaemon.models.frames.mask`). One of another grey takes three frames that
lie depths of focus apart; the readings before are then corrected.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.values import Correction, Reading
from afdaemon.drivers.base import Frame
from afdaemon.drivers.wire.image import GreyPixels
from afdaemon.models.frames.mask import filled, fixed
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.region import WHOLE, Region, cut

Score = Callable[[GreyPixels, float], Measures]

_APART_DOF = 4.0
"""Frames as far apart differ by a blur of 8 px; by 4 where the assumed depth of focus (DoF) is half of the true one."""
_TOGETHER = 3
"""Two may lie on either side of the focus, equally blurred; of three, one is not."""
_MOST_KEPT = 6
"""Frames that are kept in case they must be judged again: jobs that need more have met what is drawn before."""


@dataclass(slots=True)
class _Look:
    frame: Frame
    pixels: GreyPixels
    measures: Measures


@dataclass(slots=True)
class Looks:
    """What a job has seen. Not thread-safe.

    `dof_um` is the depth of focus at a magnification; `region` the part of each frame that is judged.
    """

    dof_um: Callable[[float], float]
    region: Region = WHOLE
    _kept: list[_Look] = field(default_factory=list)
    _fixed: NDArray[np.bool_] | None = None

    def read(self, frame: Frame, score: Score) -> Reading:
        """The reading of the next frame, with corrections of earlier ones. Raises what `score` raises."""
        pixels = cut(frame.pixels, self.region)
        if self._kept and not _is_alike(self._kept[-1], frame, pixels):
            self._kept, self._fixed = [], None
        was_known = self._fixed is not None
        if not was_known:
            self._fixed = self._found(frame, pixels)
        measures = self._judged(pixels, frame.magnification, score)
        again = self._kept if self._fixed is not None and not was_known else []
        corrections = tuple(self._corrected(look, score) for look in again)
        self._kept = [*self._kept, _Look(frame, pixels, measures)][-_MOST_KEPT:]
        return Reading(
            wd_um=frame.wd_um,
            magnification=frame.magnification,
            frame=measures,
            corrections=corrections,
        )

    def _found(self, frame: Frame, pixels: GreyPixels) -> NDArray[np.bool_] | None:
        """What this frame and earlier ones far from it have in common; None if nothing, or if there are too few."""
        least_um = _APART_DOF * self.dof_um(frame.magnification)
        places_um, several = [frame.wd_um], [pixels]
        for look in reversed(self._kept):
            if all(abs(look.frame.wd_um - place_um) >= least_um for place_um in places_um):
                places_um.append(look.frame.wd_um)
                several.append(look.pixels)
        if len(several) < _TOGETHER:
            return None
        flags = fixed(several[:_TOGETHER])
        return flags if flags.any() else None

    def _judged(self, pixels: GreyPixels, magnification: float, score: Score) -> Measures:
        if self._fixed is None:
            return score(pixels, magnification)
        measures = score(filled(pixels, self._fixed), magnification)
        share = float(np.count_nonzero(self._fixed)) / self._fixed.size
        return measures.also_masked(share, "print")

    def _corrected(self, look: _Look, score: Score) -> Correction:
        was = look.measures
        look.measures = self._judged(look.pixels, look.frame.magnification, score)
        return Correction(was=was, now=look.measures)


def _is_alike(look: _Look, frame: Frame, pixels: GreyPixels) -> bool:
    """Whether two frames can be compared pixel by pixel."""
    return (
        look.frame.magnification == frame.magnification
        and look.pixels.shape == pixels.shape
        and look.pixels.dtype == pixels.dtype
    )
