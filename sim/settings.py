"""What a simulated instrument is made of, checked when it is named."""

import math
from dataclasses import dataclass
from enum import StrEnum

from afdaemon.sim.errors import SettingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values from `low` to `high`, both allowed."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` is a number in the range."""
        return self.low <= value <= self.high


WD_UM = Range(low=5_000.0, high=50_000.0)
"""Working distances that the lens can make. ASSUMED."""
MAGNIFICATION = Range(low=20, high=150_000)
ALPHA_MRAD = Range(low=0.1, high=50.0)
SEED = Range(low=0, high=2**32 - 1)
STAGE_X_UM = Range(low=15_000.0, high=23_000.0)
STAGE_Y_UM = Range(low=11_500.0, high=28_500.0)
STAGE_START_UM = (19_000.0, 20_000.0)


class FrameMode(StrEnum):
    """How finely the field is scanned."""

    FAST = "fast"
    FULL = "full"


def frame_mode(name: str) -> FrameMode:
    """The mode of that name. Raises `SettingError`."""
    try:
        return FrameMode(name)
    except ValueError:
        raise SettingError(f"the mode is {' or '.join(FrameMode)}, not {name!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One frame's raster: pixels, time on each (ns), and the way back at the end of each line (us)."""

    width_px: int
    height_px: int
    dwell_ns: float
    flyback_us: float = 50.0

    @property
    def frame_time_s(self) -> float:
        """From the first pixel to the last flyback."""
        pixels_s = self.width_px * self.height_px * self.dwell_ns * 1e-9
        return pixels_s + self.height_px * self.flyback_us * 1e-6


SCANS = {
    FrameMode.FAST: Scan(width_px=320, height_px=240, dwell_ns=400.0),
    FrameMode.FULL: Scan(width_px=640, height_px=480, dwell_ns=1000.0),
}
"""The two modes' frame sizes are the instrument's; their dwell times are ASSUMED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSettings:
    """A simulated EM-30. What is None is drawn from the seed.

    `settle_s` is how long it waits after a change of WD before it exposes, `wd_noise_um` the
    standard deviation of a WD read-back, and `wd_quantum_um` its step.
    """

    specimen: str = "tin_balls"
    magnification: int = 2000
    seed: int = 0
    start_wd_um: float | None = None
    focus_wd_um: float | None = None
    alpha_mrad: float = 5.0
    mode: FrameMode = FrameMode.FAST
    settle_s: float = 0.15
    wd_noise_um: float = 0.2
    wd_quantum_um: float = 0.1

    def __post_init__(self) -> None:
        _check("the magnification", self.magnification, MAGNIFICATION, "")
        _check("the seed", self.seed, SEED, "")
        _check("the convergence angle", self.alpha_mrad, ALPHA_MRAD, " mrad")
        _check("the settling time", self.settle_s, Range(low=0.0, high=10.0), " s")
        _check("the WD noise", self.wd_noise_um, Range(low=0.0, high=100.0), " um")
        _check("the WD step", self.wd_quantum_um, Range(low=0.001, high=100.0), " um")
        for name, wd_um in (("start", self.start_wd_um), ("focus", self.focus_wd_um)):
            if wd_um is not None:
                _check(f"the {name} WD", wd_um, WD_UM, " um")

    @property
    def alpha_rad(self) -> float:
        """Convergence semi-angle in rad."""
        return self.alpha_mrad * 1e-3


def _check(name: str, value: float, allowed: Range, unit: str) -> None:
    if not (math.isfinite(value) and allowed.holds(value)):
        raise SettingError(
            f"{name} must lie in {allowed.low:.10g} to {allowed.high:.10g}{unit}, not {value}"
        )
