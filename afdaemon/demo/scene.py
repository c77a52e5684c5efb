"""What is shown: a specimen, a magnification, and how far out of focus it starts. Pure."""

import math
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from afdaemon.errors import UsageError
from afdaemon.models.acnet.state import a_max_um
from afdaemon.sim.instrument.settings import MAGNIFICATION, WD_UM
from afdaemon.sim.optics import depth_of_focus_um

ALPHA_RAD = 5e-3
"""Convergence semi-angle of the demonstration's column. ASSUMED, as in the simulator."""

FOCUS_WD_UM = (9_500.0, 14_500.0)
_MAX_OFFSET_A_MAX = 3.0
_MAX_OFFSET_DOF = 40.0
_SHOWN_AT = {"tin_balls": 2_000, "tem_grid": 1_000, "gold_nanoparticles": 15_000}
_OTHERS_AT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One run's circumstances; working distances in um."""

    specimen: str
    magnification: int
    seed: int
    focus_wd_um: float
    start_wd_um: float

    @property
    def dof_um(self) -> float:
        """Depth of focus 2 * pixel / alpha at 320 pixels."""
        return depth_of_focus_um(self.magnification, ALPHA_RAD)


def _shown_at(specimen: str) -> int:
    """The magnification at which a specimen is shown by default."""
    return _SHOWN_AT.get(specimen, _OTHERS_AT)


def largest_offset_um(magnification: int) -> float:
    """How far from focus a scene may start: 3 A_max or 40 depths of focus, the smaller."""
    return min(
        _MAX_OFFSET_A_MAX * a_max_um(float(magnification)),
        _MAX_OFFSET_DOF * depth_of_focus_um(magnification, ALPHA_RAD),
    )


def set_scene(
    specimen: str,
    *,
    seed: int,
    magnification: int | None = None,
    start_offset_um: float | None = None,
) -> Scene:
    """A scene; what is not given is drawn from the seed.

    Raises:
        UsageError: magnification or offset outside what the instrument can show.
    """
    shown = _shown_at(specimen) if magnification is None else magnification
    if not MAGNIFICATION.holds(shown):
        raise UsageError(
            f"magnification must lie in {MAGNIFICATION.low:g} to {MAGNIFICATION.high:g}, not {shown}"
        )
    # The name without its folders: a picture gives the same scene wherever it lies.
    rng = np.random.default_rng([seed, shown, crc32(specimen.rsplit("/", 1)[-1].encode())])
    focus_um = float(rng.uniform(*FOCUS_WD_UM))
    drawn_um = float(rng.uniform(-1.0, 1.0)) * largest_offset_um(shown)
    if start_offset_um is None:
        # On either side of a short WD the start must stay in reach of the lens.
        start_um = min(max(focus_um + drawn_um, WD_UM.low), WD_UM.high)
    else:
        start_um = focus_um + start_offset_um
    if not (math.isfinite(start_um) and WD_UM.holds(start_um)):
        raise UsageError(
            f"start_offset_um {start_offset_um} starts at a WD of {start_um:g} um, outside"
            f" {WD_UM.low:g} to {WD_UM.high:g}",
            remedy=f"give an offset of {WD_UM.low - focus_um:.0f} to {WD_UM.high - focus_um:.0f}",
        )
    return Scene(
        specimen=specimen,
        magnification=shown,
        seed=seed,
        focus_wd_um=focus_um,
        start_wd_um=start_um,
    )
