"""What `afctl calibrate` measures of an instrument, and the file it is kept in. Needs pydantic alone.

The score falls to half where the blur is `b0` (4 pixels of a frame 320 wide), that is 2 depths of focus (DoF) from the
best WD: so the width of the score's curve tells the depth of focus, and with it the convergence angle. By the label's
formula 9 / s - 1 is a parabola of the WD; its coefficients are a weighted linear least squares.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import geometric_mean

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from afdaemon.errors import ConfigError

TOP_SCORE = 9.0
LEAST_SCORE = 1.0
"""Fainter frames tell nothing of the curve."""
FEWEST_POINTS = 5
_NEVER_QUITE = 0.999
_GOOD_FIT = 0.8
_HALF_DOF = 2.0
"""DoF from the best WD to where the score is half."""


class CalibrationError(ConfigError):
    """What was measured, or is in the file, calibrates nothing."""

    kind = "calibration"
    remedy = "measure again with `afctl calibrate`, on a specimen with fine detail"


@dataclass(frozen=True, slots=True)
class Curve:
    """Score over WD: best WD and distance from it at which the score is half (um), share of the variance explained."""

    best_um: float
    half_um: float
    explained: float


class Measured(BaseModel):
    """What was measured at one magnification; distances in um."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    utc: AwareDatetime
    magnification: float = Field(gt=0.0)
    best_wd_um: float
    half_um: float = Field(gt=0.0)
    hysteresis_um: float
    """Best WD of the sweep upwards less that of the one downwards."""
    points: list[tuple[float, float]]
    """WD and score of every reading, in order."""

    @property
    def dof_um(self) -> float:
        """Depth of focus."""
        return self.half_um / _HALF_DOF


class Calibration(BaseModel):
    """The file: which instrument, and what was measured at which magnifications."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instrument: str
    measured: list[Measured] = Field(min_length=1)

    def alpha_rad(self, dof_um_of_1_rad: Callable[[float], float]) -> float:
        """The convergence angle, given the depth of focus (um) of 1 rad by magnification."""
        return geometric_mean(dof_um_of_1_rad(m.magnification) / m.dof_um for m in self.measured)

    def check(self, *, instrument: str, now: datetime, most_days: float, file: Path) -> None:
        """See that it is of that instrument and not too old. Raises `CalibrationError`."""
        if self.instrument != instrument:
            raise CalibrationError(
                f"{file} calibrates {self.instrument!r}, but the instrument is {instrument!r}"
            )
        age = now - min(one.utc for one in self.measured)
        if age > timedelta(days=most_days):
            raise CalibrationError(
                f"{file} is {age.days} days old, allowed are {most_days:g} (calibration.most_days)"
            )


def curve(points: Sequence[tuple[float, float]]) -> Curve:
    """The curve through WDs (um) and scores. Raises `CalibrationError` if there is no peak between them."""
    kept = [(wd, min(s, TOP_SCORE * _NEVER_QUITE)) for wd, s in points if s >= LEAST_SCORE]
    if len(kept) < FEWEST_POINTS:
        raise CalibrationError(
            f"only {len(kept)} of {len(points)} readings score {LEAST_SCORE:g} or more,"
            f" {FEWEST_POINTS} are needed"
        )
    middle = sum(wd for wd, _ in kept) / len(kept)
    scale = max(abs(wd - middle) for wd, _ in kept) or 1.0
    places = [(wd - middle) / scale for wd, _ in kept]
    a, b, c = _parabola(places, [TOP_SCORE / s - 1.0 for _, s in kept], [s**4 for _, s in kept])
    if a <= 0.0 or abs(b) > 2.0 * a:
        raise CalibrationError("the score has no peak between the WDs that were read")
    fitted = [TOP_SCORE / (1.0 + max(0.0, (a * x + b) * x + c)) for x in places]
    explained = _explained([s for _, s in kept], fitted)
    if explained < _GOOD_FIT:
        raise CalibrationError(
            f"the score's curve explains {explained:.2f} of the readings, {_GOOD_FIT:g} is needed"
        )
    return Curve(
        best_um=middle - scale * b / (2.0 * a),
        half_um=scale / math.sqrt(a),
        explained=explained,
    )


def with_another(earlier: Calibration | None, instrument: str, measured: Measured) -> Calibration:
    """What was known, and one more; what was measured at that magnification before is replaced."""
    known = earlier.measured if earlier is not None else []
    others = [m for m in known if m.magnification != measured.magnification]
    return Calibration(instrument=instrument, measured=[*others, measured])


def load(file: Path) -> Calibration:
    """The calibration in a file. Raises `CalibrationError`."""
    try:
        return Calibration.model_validate_json(file.read_bytes())
    except OSError as error:
        raise CalibrationError(f"{file} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise CalibrationError(f"{file} is no calibration: {field}: {first['msg']}") from None


def _parabola(
    x: Sequence[float], y: Sequence[float], weight: Sequence[float]
) -> tuple[float, float, float]:
    """a, b, c of the weighted least squares of a x^2 + b x + c, by Cramer's rule."""
    m = [sum(w * t**k for t, w in zip(x, weight, strict=True)) for k in range(5)]
    v = [sum(w * u * t**k for t, u, w in zip(x, y, weight, strict=True)) for k in range(3)]
    rows = [[m[4], m[3], m[2]], [m[3], m[2], m[1]], [m[2], m[1], m[0]]]
    right = [v[2], v[1], v[0]]
    whole = _determinant(rows)
    if abs(whole) < 1e-12 * max(map(abs, m)) ** 3:
        raise CalibrationError("the readings lie at too few WDs to tell the score's curve")
    parts = [
        _determinant([[right[i] if j == k else rows[i][j] for j in range(3)] for i in range(3)])
        for k in range(3)
    ]
    return parts[0] / whole, parts[1] / whole, parts[2] / whole


def _determinant(r: Sequence[Sequence[float]]) -> float:
    return sum(
        r[0][k] * (r[1][(k + 1) % 3] * r[2][(k + 2) % 3] - r[1][(k + 2) % 3] * r[2][(k + 1) % 3])
        for k in range(3)
    )


def _explained(seen: Sequence[float], fitted: Sequence[float]) -> float:
    mean = sum(seen) / len(seen)
    total = sum((s - mean) ** 2 for s in seen)
    left = sum((s - f) ** 2 for s, f in zip(seen, fitted, strict=True))
    return 1.0 - left / total if total > 0.0 else 0.0
