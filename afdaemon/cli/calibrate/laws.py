"""How the width of the score curve depends on the magnification: the published law and that of the optics, fitted."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from scipy.optimize import least_squares

from afdaemon.calibration import Calibration, DofLaw, Laws, Measured, TanhLaw

_PUBLISHED = {"a_um": 1200.0, "c": 0.515, "m0": 9000.0, "w": 1000.0}
"""Lee et al. 2021, equation 5; b + c = 1 there, so that a is the limit at low magnification."""
_LOWEST = {"a_um": 1e-2, "c": 0.5, "m0": 1.0, "w": 10.0}
_HIGHEST = {"a_um": 1e6, "c": 1.0, "m0": 1e6, "w": 1e6}
_WIDTH_DOF = 4.0
"""The score is at half its maximum 2 depths of focus to either side."""
_FEWEST = 2


def with_laws(found: Calibration) -> Calibration:
    """The calibration with both laws, where two magnifications or more were measured."""
    if len(found.measured) < _FEWEST:
        return found.model_copy(update={"laws": None})
    laws = Laws(tanh=_tanh(found.measured), dof=_dof(found.measured))
    return found.model_copy(update={"laws": laws})


def _tanh(measured: Sequence[Measured]) -> TanhLaw:
    """The published law, fitted to the ratios of widths, with one free parameter fewer than there are magnifications.

    a first, then c, m0 and w: each needs more of the curve than the one before.
    """
    free = list(_PUBLISHED)[: len(measured) - 1]

    def law(numbers: Iterable[float]) -> TanhLaw:
        p = _PUBLISHED | {name: math.exp(x) for name, x in zip(free, numbers, strict=True)}
        return TanhLaw(**p, b=1.0 - p["c"], free=free, residuals=[])

    def off(numbers: Iterable[float], /) -> list[float]:
        return _residuals(law(numbers), measured)

    begin = _PUBLISHED | {"a_um": max(one.width_um for one in measured)}
    fitted = least_squares(
        off,
        [math.log(begin[name]) for name in free],
        bounds=([math.log(_LOWEST[n]) for n in free], [math.log(_HIGHEST[n]) for n in free]),
    )
    return law(fitted.x).model_copy(update={"residuals": off(fitted.x)})


def _dof(measured: Sequence[Measured]) -> DofLaw:
    at_1x = math.exp(fmean(math.log(one.dof_um * one.magnification) for one in measured))
    law = DofLaw(c=_WIDTH_DOF, dof_um_at_1x=at_1x, residuals=[])
    return law.model_copy(update={"residuals": _residuals(law, measured)})


def _residuals(law: TanhLaw | DofLaw, measured: Sequence[Measured]) -> list[float]:
    """Logarithms of measured width / law's width."""
    return [math.log(one.width_um / law.width_um(one.magnification)) for one in measured]
