"""Focus in the way of MAPFoSt (Binding, Mikula, Denk 2013), by the authors' own package, if it is installed."""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from peers.ways import Look, Window

TEST_DOF = 4.0
"""Both frames of a pair are taken this far from where the search stands."""
_ANGLE_SHARE = 0.25
"""Convergence angle given to the package: with this one it focuses best here (of .15 to 1, at 1 to 14 DoF)."""
_MOST_STEP_DOF, _ENOUGH_DOF, _MOST_PAIRS = 20.0, 0.5, 8
_SIDE_PX = 240


def is_installed() -> bool:
    """Whether `pip install afdaemon[bench]` was run."""
    return find_spec("mapfost") is not None


def mapfost(look: Look, window: Window) -> float:
    """Pairs of frames to either side, until the step that follows is short."""
    here_um, apart_um = window.start_um, TEST_DOF * window.dof_um
    most_um = _MOST_STEP_DOF * window.dof_um
    low_um, high_um = window.lowest_um + apart_um, window.highest_um - apart_um
    for _ in range(_MOST_PAIRS):
        here_um = min(max(here_um, low_um), high_um)
        pair = [look(here_um - apart_um), look(here_um + apart_um)]
        step_um = _estimate_um(pair, apart_um, window)
        here_um += min(max(step_um, -most_um), most_um)
        if abs(step_um) < _ENOUGH_DOF * window.dof_um:
            break
    return min(max(here_um, low_um), high_um)


def _estimate_um(pair: list[NDArray[np.uint8]], apart_um: float, window: Window) -> float:
    """Distance of the focus as the package estimates it; 0 if it gives up."""
    from mapfost.mapfost import est_aberr

    height, width = pair[0].shape
    side = min(_SIDE_PX, height, width)
    _, _, found = est_aberr(
        pair,
        [-apart_um, apart_um],
        pix_size_um=window.pixel_um,
        num_aperture=_ANGLE_SHARE * window.alpha_rad,
        crop_size=(side, side),
        crop_ref=[(width - side) // 2, (height - side) // 2],
        test_ims_aligned=1,
    )
    return 0.0 if found is None else -float(found.x[0])
