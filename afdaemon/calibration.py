"""What `afctl calibrate` measures on an instrument, and the file that keeps it. Needs only pydantic.

The depth of focus (DoF), and with it the convergence angle, follows from how detail fades away from the focus: a disc
of radius b transfers the power of a spatial frequency f with (2 J1(x) / x)^2, x = 2 pi f b, which near the focus is
exp(-x^2 / 4). So the power has fallen to 1 / e where x = 2; and b is 2 pixels one DoF from the focus. What the specimen
shows cancels: every frequency gives the same DoF.

The score's curve gives it too, if AENet judges the specimen rightly: the score falls to half where the blur is `b0` (4
pixels of a frame 320 wide), which is 2 DoF from the best WD. By the label formula, 9 / s - 1 is a parabola in the WD;
its coefficients come from a weighted linear least-squares fit. Where the two disagree, neither is believed.

Also measured: how long the picture keeps changing after a command. `laws` relates the width to the magnification.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import fmean, geometric_mean, linear_regression, median

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from afdaemon.errors import ConfigError
from afdaemon.models.optics import HALF_SCORE_DOF, TOP_SCORE

LEAST_SCORE = 1.0
"""Frames that score lower say nothing about the curve."""
_FEWEST_POINTS = 5
_NEVER_QUITE = 0.999
_GOOD_FIT = 0.8
_FEWEST_FRAMES = 4
_SAME_WD_UM, _SAME_SCORE = 0.5, 0.2
_SPREADS = 3.0
"""Frames count as equal if they differ by no more than the limits above, or by this many times the noise at rest."""
_NEAR_FALL, _LEAST_FALL = 1.5, 2.0
"""In ln power: the fall over which a band's law is fitted, and the total fall that sets it apart from noise."""
_FEWEST_BANDS = 3
"""Bands that must fade before their median counts."""
_MOST_APART = 1.25
"""Ratio of the two depths of focus above which neither is believed: see `benchmarks/calibrated.py`."""


class CalibrationError(ConfigError):
    """The measurement, or the file, does not yield a calibration."""

    kind = "calibration"
    remedy = "measure again with `afctl calibrate`, on a specimen with fine detail"


@dataclass(frozen=True, slots=True)
class Curve:
    """Score over WD: best WD, distance from it where the score is half (both um), share of the variance explained."""

    best_um: float
    half_um: float
    explained: float


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame after a command: seconds since that was sent, WD read back (um), and the score if it was judged."""

    seconds: float
    wd_um: float
    score: float | None = None


class Settling(BaseModel):
    """How long the picture kept changing after a WD command.

    The links themselves wait for the lens before they hand out a frame. If `changed` is 0, even the first frame was
    like the later ones: `seconds` is then how long a user waits for that frame, and the lens took no longer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step_um: float
    seconds: float = Field(ge=0.0)
    """From the command to the first frame that equals the later ones."""
    frame_s: float = Field(ge=0.0)
    """Time between two frames, and so the resolution of `seconds`."""
    changed: int = Field(ge=0)
    """Frames before that one."""


class Fading(BaseModel):
    """Distance from the focus (um) at which the power at a spatial frequency (cycles per pixel) has fallen to 1 / e."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cycles_px: float = Field(gt=0.0)
    fall_um: float = Field(gt=0.0)

    @property
    def dof_um(self) -> float:
        """The depth of focus that it shows: x = 2 there, and x is 4 pi f for each DoF."""
        return 2.0 * math.pi * self.cycles_px * self.fall_um


class Measured(BaseModel):
    """What was measured at one magnification; distances in um."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    utc: AwareDatetime
    magnification: float = Field(gt=0.0)
    best_wd_um: float
    half_um: float = Field(gt=0.0)
    hysteresis_um: float
    """Best WD of the upward sweep minus that of the downward one."""
    points: list[tuple[float, float]]
    """WD and score of every reading, in order."""
    settling: Settling | None = None
    fading: list[Fading] = []
    """Coarse to fine; bands that hardly change are left out."""

    @property
    def dof_um(self) -> float:
        """Depth of focus: as the fading of detail shows it, else the score's curve."""
        return self.dof_by_detail_um or self.dof_by_score_um

    @property
    def dof_by_detail_um(self) -> float | None:
        """From the fading of detail, the median of the bands; None of too few of them."""
        enough = len(self.fading) >= _FEWEST_BANDS
        return median(band.dof_um for band in self.fading) if enough else None

    @property
    def dof_by_score_um(self) -> float:
        """From the width of the score's curve."""
        return self.half_um / HALF_SCORE_DOF

    @property
    def width_um(self) -> float:
        """Full width at half height of the score curve; the plateaus of the published action limit are such widths."""
        return 2.0 * self.half_um


class TanhLaw(BaseModel):
    """The published form of the action limit: a (-b tanh((m - m0) / w) + c) um (Lee et al. 2021, equation 5)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    a_um: float
    b: float
    c: float
    m0: float
    w: float
    free: list[str]
    """Names of the fitted parameters; the others keep their published values."""
    residuals: list[float]
    """Logarithm of measured width / law's width, one for each magnification."""

    def width_um(self, magnification: float) -> float:
        """The law's width."""
        return self.a_um * (self.c - self.b * math.tanh((magnification - self.m0) / self.w))


class DofLaw(BaseModel):
    """The law of the optics: c DoF(m), where the depth of focus DoF(m) is `dof_um_at_1x` / m."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    c: float
    dof_um_at_1x: float
    residuals: list[float]
    """As those of `TanhLaw`."""

    def width_um(self, magnification: float) -> float:
        """The law's width."""
        return self.c * self.dof_um_at_1x / magnification


class Laws(BaseModel):
    """Both laws of the width at half height, in the order of `Calibration.measured`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tanh: TanhLaw
    dof: DofLaw


class Calibration(BaseModel):
    """The file: which instrument, and what was measured at which magnifications."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instrument: str
    measured: list[Measured] = Field(min_length=1)
    laws: Laws | None = None
    """Present with two magnifications or more."""

    def alpha_rad(self, dof_um_of_1_rad: Callable[[float], float]) -> float:
        """The convergence angle, given the depth of focus (um) at 1 rad as a function of magnification."""
        return geometric_mean(dof_um_of_1_rad(m.magnification) / m.dof_um for m in self.measured)

    def check_instrument(self, instrument: str) -> None:
        """Check that it was measured on that instrument. Raises `CalibrationError`."""
        if self.instrument != instrument:
            raise CalibrationError(
                f"the calibration is of {self.instrument!r}, but the instrument is {instrument!r}",
                remedy="measure again with `afctl calibrate`, into another file",
            )

    def check(self, *, instrument: str, now: datetime, most_days: float) -> None:
        """Check that it was measured on that instrument and is not too old. Raises `CalibrationError`."""
        self.check_instrument(instrument)
        age = now - min(one.utc for one in self.measured)
        if age > timedelta(days=most_days):
            raise CalibrationError(
                f"the calibration is {age.days} days old; at most {most_days:g} are allowed"
                " (calibration.most_days)"
            )


def settled(seen: Sequence[SeenFrame], step_um: float) -> Settling:
    """When the frames after a step of `step_um` had come to rest; their later half defines rest.

    Raises `CalibrationError` if they never do, or if they are too few.
    """
    if len(seen) < _FEWEST_FRAMES:
        raise CalibrationError(
            f"{len(seen)} frames are too few to measure settling; {_FEWEST_FRAMES} are needed"
        )
    rest = seen[len(seen) // 2 :]
    in_place = _like([one.wd_um for one in rest], _SAME_WD_UM)
    as_sharp = _like([one.score for one in rest if one.score is not None], _SAME_SCORE)
    still = [in_place(one.wd_um) and (one.score is None or as_sharp(one.score)) for one in seen]
    changed = max((n + 1 for n, is_still in enumerate(still) if not is_still), default=0)
    if changed > len(seen) - len(rest):
        raise CalibrationError(
            f"{seen[-1].seconds:.1f} s after a command the picture is still changing",
            remedy="let the instrument warm up, or make sure that specimen and stage are at rest",
        )
    return Settling(
        step_um=step_um,
        seconds=seen[changed].seconds,
        frame_s=(seen[-1].seconds - seen[0].seconds) / (len(seen) - 1),
        changed=changed,
    )


def _like(rest: Sequence[float], least: float) -> Callable[[float], bool]:
    """A test of whether a value is like those at rest."""
    if len(rest) < 2:
        return lambda _value: True
    noise = math.sqrt(fmean((b - a) ** 2 for a, b in pairwise(rest)) / 2.0)
    middle, allowed = fmean(rest), max(least, _SPREADS * noise)
    return lambda value: abs(value - middle) <= allowed


Spectrum = Sequence[tuple[float, float]]
"""Spatial frequency (cycles per pixel) and logarithm of the power, for each band."""


def fading(seen: Sequence[tuple[float, Spectrum]]) -> list[Fading]:
    """How detail fades: from spectra at distances from the focus (um), all of the same bands.

    Near the focus the logarithm of the power falls with the square of the distance; the slope shows where it is 1 less.
    """
    ordered = sorted((distance_um**2, spectrum) for distance_um, spectrum in seen)
    found = []
    for band, (cycles_px, _) in enumerate(ordered[0][1] if ordered else ()):
        fall_um = _fall_um([(square, spectrum[band][1]) for square, spectrum in ordered])
        if fall_um is not None:
            found.append(Fading(cycles_px=cycles_px, fall_um=fall_um))
    return found


def _fall_um(curve: Sequence[tuple[float, float]]) -> float | None:
    """From squared distances and logarithms of the power, nearest first; None if the power hardly falls."""
    top = fmean(power for _, power in curve[:2])
    if top - min(power for _, power in curve) < _LEAST_FALL:
        return None
    beyond = (n for n, (_, power) in enumerate(curve) if power < top - _NEAR_FALL)
    near = curve[: max(_FEWEST_POINTS, next(beyond, len(curve)))]
    if near[0][0] == near[-1][0]:
        return None
    slope = linear_regression(*zip(*near, strict=True)).slope
    return 1.0 / math.sqrt(-slope) if slope < 0.0 else None


def curve(points: Sequence[tuple[float, float]]) -> Curve:
    """The curve through WDs (um) and scores. Raises `CalibrationError` if there is no peak between them."""
    kept = [(wd, min(s, TOP_SCORE * _NEVER_QUITE)) for wd, s in points if s >= LEAST_SCORE]
    if len(kept) < _FEWEST_POINTS:
        raise CalibrationError(
            f"only {len(kept)} of {len(points)} readings score {LEAST_SCORE:g} or more,"
            f" {_FEWEST_POINTS} are needed"
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
            f"the score curve explains {explained:.2f} of the readings' variance, {_GOOD_FIT:g} is needed"
        )
    return Curve(
        best_um=middle - scale * b / (2.0 * a),
        half_um=scale / math.sqrt(a),
        explained=explained,
    )


def agreeing(measured: Measured) -> Measured:
    """The same, if the fading of detail and the score's curve show the same depth of focus.

    Raises:
        CalibrationError: they don't, or too little detail fades to tell.
    """
    detail_um, score_um = measured.dof_by_detail_um, measured.dof_by_score_um
    if detail_um is None:
        raise CalibrationError(
            f"{len(measured.fading)} bands of detail fade away from the focus, {_FEWEST_BANDS} are needed: the depth"
            f" of focus by the score, {score_um:.4g} um, cannot be checked",
            remedy="measure on a specimen with more contrast and finer detail",
        )
    if max(detail_um, score_um) > _MOST_APART * min(detail_um, score_um):
        raise CalibrationError(
            f"by the fading of detail the depth of focus is {detail_um:.4g} um, by the score {score_um:.4g} um",
            remedy="measure on another specimen, with fine and sharp detail all over the field",
        )
    return measured


def with_another(earlier: Calibration | None, instrument: str, measured: Measured) -> Calibration:
    """The earlier calibration with one more measurement, in place of any earlier one at the same magnification."""
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
        raise CalibrationError(f"{file} is not a calibration: {field}: {first['msg']}") from None


def _parabola(
    x: Sequence[float], y: Sequence[float], weight: Sequence[float]
) -> tuple[float, float, float]:
    """a, b, c of the weighted least-squares fit of a x^2 + b x + c, by Cramer's rule."""
    m = [sum(w * t**k for t, w in zip(x, weight, strict=True)) for k in range(5)]
    v = [sum(w * u * t**k for t, u, w in zip(x, y, weight, strict=True)) for k in range(3)]
    rows = [[m[4], m[3], m[2]], [m[3], m[2], m[1]], [m[2], m[1], m[0]]]
    right = [v[2], v[1], v[0]]
    whole = _determinant(rows)
    if abs(whole) < 1e-12 * max(map(abs, m)) ** 3:
        raise CalibrationError("the readings lie at too few WDs to determine the score curve")
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
