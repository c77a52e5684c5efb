"""Settings of a simulated instrument, checked when they are made.

Each field declares its range, unit and help. The defaults are those of a well-kept instrument: it has flaws, but none
that anybody would call the service for. All values without another source are ASSUMED.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from afdaemon.sim.errors import SettingError
from afdaemon.sim.imaging.depth import Tilt
from afdaemon.sim.imaging.detector import Detector, electrons_per_pixel
from afdaemon.sim.imaging.prints import Print, parse_prints
from afdaemon.sim.imaging.scan import ScanFlaws, Scanning
from afdaemon.sim.instrument.age import Ageing
from afdaemon.sim.instrument.stage import Place
from afdaemon.sim.optics import DEFAULT_SPOT, Beam, beam_current_pa
from afdaemon.spec import Range, check, choice, number, text, whole, within

WD_UM = Range(low=5_000.0, high=50_000.0)
"""Working distances that the lens can make. ASSUMED."""
MAGNIFICATION = Range(low=20, high=150_000)
ALPHA_MRAD = Range(low=0.1, high=50.0)
KV = Range(low=1.0, high=30.0)
_SEED = Range(low=0, high=2**32 - 1)
STAGE_X_UM = Range(low=15_000.0, high=23_000.0)
STAGE_Y_UM = Range(low=11_500.0, high=28_500.0)
STAGE_START_UM = (19_000.0, 20_000.0)
_SETTLING_TIME_CONSTANTS = 12.0
"""After its settling time e^-12 of the lens's travel is left: 0.3 um of the longest one."""

_BEAM = Beam()
_FLAWS = ScanFlaws()
_SCANNING = Scanning()
_DETECTOR = Detector()


class FrameMode(StrEnum):
    """How finely the field is scanned."""

    FAST = "fast"
    FULL = "full"


class Electrons(StrEnum):
    """Which electrons the detector counts: secondary or back-scattered."""

    SE = "se"
    BSE = "bse"


class Probe(StrEnum):
    """What a point of the specimen is blurred by: a disc and a Gaussian, or what rays and waves make of the beam."""

    GEOMETRIC = "geometric"
    WAVE = "wave"


def frame_mode(name: str) -> FrameMode:
    """The mode of that name. Raises `SettingError`."""
    try:
        return FrameMode(name)
    except ValueError:
        raise SettingError(f"the mode is {' or '.join(FrameMode)}, not {name!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One frame's raster: pixels, time on each (ns), and the way back at the end of each line (us).

    Each line is scanned `line_average` times; the times are those of one pass.
    """

    width_px: int
    height_px: int
    dwell_ns: float
    flyback_us: float = 50.0
    line_average: int = 1

    @property
    def frame_time_s(self) -> float:
        """From the first pixel to the last flyback."""
        pixels_s = self.width_px * self.height_px * self.dwell_ns * 1e-9
        return self.line_average * (pixels_s + self.height_px * self.flyback_us * 1e-6)


SCANS = {
    FrameMode.FAST: Scan(width_px=320, height_px=240, dwell_ns=400.0),
    FrameMode.FULL: Scan(width_px=640, height_px=480, dwell_ns=1000.0),
}
"""The two modes' frame sizes are the instrument's; their dwell times are ASSUMED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSettings:
    """Gun and lenses, and their flaws. Where `aperture_um` is given, it determines the convergence angle."""

    kv: float = number(_BEAM.kv, KV.low, KV.high, "kV", "accelerating voltage")
    spot: float = number(
        _BEAM.spot, 1.0, 10.0, "", "spot number: each doubles the current, and the probe grows"
    )
    aperture_um: float | None = number(
        None, 5.0, 500.0, "um", "diameter of the objective aperture: the angle then follows the WD",
        optional=True,
    )  # fmt: skip
    probe: Probe = choice(
        Probe.GEOMETRIC,
        Probe,
        "blur: a disc and a Gaussian, or what rays and waves make of the beam",
    )
    energy_spread_ev: float = number(
        _BEAM.energy_spread_ev, 0.0, 20.0, "eV", "full width at half maximum of the energies"
    )
    chromatic_mm: float = number(
        _BEAM.chromatic_mm, 0.0, 1_000.0, "mm", "chromatic aberration Cc of the objective"
    )
    spherical_mm: float = number(
        _BEAM.spherical_mm, 0.0, 1_000.0, "mm", "spherical aberration Cs of the objective"
    )
    astigmatism_x_um: float = number(
        0.3, -5_000.0, 5_000.0, "um", "distance of the line foci along 0 and 90 degrees"
    )
    astigmatism_y_um: float = number(
        -0.2, -5_000.0, 5_000.0, "um", "distance of the line foci along 45 and 135 degrees"
    )
    time_constant_s: float | None = number(
        None, 0.0, 10.0, "s", "time constant of the lens; unset: settle_s / 12",
        optional=True,
    )  # fmt: skip
    hysteresis_um: float = number(
        0.4, 0.0, 1_000.0, "um", "difference between the WDs reached from below and from above"
    )
    backlash_um: float = number(0.0, 0.0, 1_000.0, "um", "reversal needed before the lens follows")
    drift_um_per_min: float = number(0.1, -1_000.0, 1_000.0, "um/min", "the focus creeps away")
    wander_um: float = number(0.05, 0.0, 1_000.0, "um", "rms of the focus's random wandering")
    rotation_deg: float = number(
        0.2, -45.0, 45.0, "degrees", "the image turns with each decade of magnification"
    )
    shift_pct: float = number(
        0.5,
        0.0,
        25.0,
        "%",
        "shift of the field per decade of magnification, as a share of its width",
    )
    wd_shift_nm_per_um: float = number(
        0.0,
        0.0,
        1_000.0,
        "nm/um",
        "shift of the field with the WD: the beam is off the lens's axis",
    )
    wd_rotation_deg_per_mm: float = number(
        0.0, -90.0, 90.0, "degrees/mm", "the image turns with the WD, as behind a magnetic lens"
    )
    wd_zoom_pct_per_mm: float = number(
        0.0, -50.0, 50.0, "%/mm", "the magnification grows with the WD that the lens is set to"
    )

    def __post_init__(self) -> None:
        check(self, SettingError)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSettings:
    """Detector and amplifier."""

    kind: Electrons = choice(Electrons.SE, Electrons, "electrons that are counted")
    current_pa: float = number(
        100.0, 0.1, 100_000.0, "pA", f"beam current at spot {DEFAULT_SPOT:g}: more is less noise"
    )
    contrast: float = number(_DETECTOR.contrast, 0.0, 20.0, "", "gain")
    brightness: float = number(
        _DETECTOR.brightness, -2.0, 3.0, "", "grey of half the signal, on a scale of 0 to 1"
    )
    gamma: float = number(_DETECTOR.gamma, 0.1, 10.0, "", "exponent of the grey scale")
    read_noise: float = number(
        _DETECTOR.read_noise, 0.0, 100.0, "grey levels", "rms noise of the amplifier"
    )
    response_ns: float = number(
        0.0,
        0.0,
        100_000.0,
        "ns",
        "time constant of scintillator and amplifier: fast scans are smeared along the lines",
    )
    se_yield: float = number(
        _DETECTOR.se_yield,
        0.0,
        5.0,
        "",
        "electrons that one primary brings to a bright edge: they come in bunches; 0: one by one",
    )
    hunting_pct: float = number(
        100.0 * _DETECTOR.hunting, 0.0, 50.0, "%", "gain and brightness hunt by so much"
    )
    hunting_s: float = number(_DETECTOR.hunting_s, 0.01, 3_600.0, "s", "period of the hunting")

    def __post_init__(self) -> None:
        check(self, SettingError)

    def at(self, spot: float, dwell_ns: float) -> Detector:
        """The detector in a beam of that spot number that stays on each pixel for `dwell_ns`, in one pass."""
        current_pa = self.current_pa * beam_current_pa(spot) / beam_current_pa(DEFAULT_SPOT)
        return Detector(
            electrons=electrons_per_pixel(current_pa, dwell_ns),
            contrast=self.contrast,
            brightness=self.brightness,
            gamma=self.gamma,
            read_noise=self.read_noise,
            backscatter=1.0 if self.kind is Electrons.BSE else 0.0,
            tau_px=self.response_ns / dwell_ns,
            se_yield=self.se_yield,
            hunting=0.01 * self.hunting_pct,
            hunting_s=self.hunting_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSettings:
    """How the lines are scanned, see `Scanning`; flaws of the scan, and what moves the specimen, see `ScanFlaws`."""

    jitter_nm: float = number(
        _FLAWS.jitter_nm, 0.0, 10_000.0, "nm", "error of a line's start (rms)"
    )
    hum_nm: float = number(_FLAWS.hum_nm, 0.0, 10_000.0, "nm", "amplitude of the mains' hum")
    hum_hz: float = number(_FLAWS.hum_hz, 1.0, 1_000.0, "Hz", "frequency of the mains")
    vibration_nm: float = number(
        _FLAWS.vibration_nm, 0.0, 10_000.0, "nm", "amplitude of the floor's vibration"
    )
    vibration_hz: float = number(_FLAWS.vibration_hz, 0.1, 1_000.0, "Hz", "its frequency")
    creep_x_nm_per_s: float = number(
        _FLAWS.drift_nm_per_s[0], -10_000.0, 10_000.0, "nm/s", "the specimen creeps along x"
    )
    creep_y_nm_per_s: float = number(
        _FLAWS.drift_nm_per_s[1], -10_000.0, 10_000.0, "nm/s", "the specimen creeps along y"
    )
    charging: float = number(
        _FLAWS.charging, 0.0, 10.0, "", "signal that a fully charging spot adds"
    )
    interlace: int = whole(
        _SCANNING.interlace, 1, 16, "fields of a frame: with 2, the odd lines follow the even ones"
    )
    line_average: int = whole(
        _SCANNING.line_average, 1, 32, "passes over each line, which are averaged"
    )

    def __post_init__(self) -> None:
        check(self, SettingError)

    def flaws(self, velocity_um_per_s: Place, rotation_rad: float) -> ScanFlaws:
        """The flaws of a frame whose scan is rotated while the stage moves, along the frame's axes."""
        x = self.creep_x_nm_per_s + 1_000.0 * velocity_um_per_s[0]
        y = self.creep_y_nm_per_s + 1_000.0 * velocity_um_per_s[1]
        cos, sin = math.cos(rotation_rad), math.sin(rotation_rad)
        return ScanFlaws(
            jitter_nm=self.jitter_nm,
            hum_nm=self.hum_nm,
            hum_hz=self.hum_hz,
            vibration_nm=self.vibration_nm,
            vibration_hz=self.vibration_hz,
            drift_nm_per_s=(x * cos + y * sin, y * cos - x * sin),
            charging=self.charging,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """Stage and the specimen's tilt on it."""

    speed_um_per_s: float = number(2_000.0, 10.0, 100_000.0, "um/s", "speed of a move")
    least_s: float = number(0.3, 0.0, 60.0, "s", "duration of the shortest move")
    tilt_deg: float = number(0.0, 0.0, 70.0, "degrees", "how steeply the specimen rises")
    tilt_azimuth_deg: float = number(
        0.0, -360.0, 360.0, "degrees", "which way it rises: 0 is +x, 90 is +y"
    )

    def __post_init__(self) -> None:
        check(self, SettingError)

    @property
    def tilt(self) -> Tilt:
        """The specimen's plane."""
        return Tilt(
            angle_rad=math.radians(self.tilt_deg), azimuth_rad=math.radians(self.tilt_azimuth_deg)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSettings:
    """A simulated EM-30. What is None is drawn from the seed.

    `settle_s` is how long it waits after a change of WD before it exposes, `wd_noise_um` the standard deviation of a
    WD read-back, and `wd_quantum_um` the step of commands and read-backs.
    """

    specimen: str = text("tin_balls", "what lies under the beam")
    magnification: int = within(2000, int, MAGNIFICATION, "at the start", name="the magnification")
    seed: int = within(0, int, _SEED, "all that is random follows from it", name="the seed")
    serial: str = text("EM30-0001", "serial number that it reports on every link")
    start_wd_um: float | None = within(
        None, float, WD_UM, "WD at the start; unset: near the focus", unit="um", name="the start WD",
        optional=True,
    )  # fmt: skip
    focus_wd_um: float | None = within(
        None, float, WD_UM, "WD in focus at the start; unset: drawn", unit="um", name="the focus WD",
        optional=True,
    )  # fmt: skip
    alpha_mrad: float = within(
        5.0, float, ALPHA_MRAD, "convergence semi-angle", unit="mrad", name="the convergence angle"
    )
    mode: FrameMode = choice(FrameMode.FAST, FrameMode, "frame size", name="the mode")
    settle_s: float = number(
        0.15, 0.0, 10.0, "s", "from a command to the exposure", name="the settling time"
    )
    wd_noise_um: float = number(
        0.2, 0.0, 100.0, "um", "standard deviation of a WD read back", name="the WD noise"
    )
    wd_quantum_um: float = number(
        0.1, 0.001, 100.0, "um", "step of WD commands and read-backs", name="the WD step"
    )
    prints: str = text(
        "",
        f"what is drawn into each picture, joined by +: {', '.join(Print)}",
        optional=True,
    )
    ageing: Ageing = choice(
        Ageing.WORK, Ageing, "what drift goes by: the instrument's work or the clock"
    )
    column: ColumnSettings = field(default_factory=ColumnSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)
    stage: StageSettings = field(default_factory=StageSettings)

    def __post_init__(self) -> None:
        check(self, SettingError)
        parse_prints(self.prints)

    @property
    def alpha_rad(self) -> float:
        """Convergence semi-angle in rad, where no aperture determines it."""
        return self.alpha_mrad * 1e-3

    @property
    def time_constant_s(self) -> float:
        """Of the lens on its way to a command."""
        given_s = self.column.time_constant_s
        return self.settle_s / _SETTLING_TIME_CONSTANTS if given_s is None else given_s
