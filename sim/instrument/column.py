"""The column at any time: where it focuses, what its beam is like, and where it points. Pure.

Everything follows from the settings and a few numbers drawn from the seed. The part with a memory, the lens, is in
`afdaemon.sim.instrument.lens`.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from afdaemon.sim.instrument.lens import Lens, Memory
from afdaemon.sim.instrument.settings import WD_UM, ColumnSettings, InstrumentSettings, Probe
from afdaemon.sim.instrument.stage import Place
from afdaemon.sim.optics import (
    REFERENCE_WIDTH_UM,
    Beam,
    Optics,
    alpha_rad,
    depth_of_focus_um,
    focus_shift_um,
)

_STRAIGHT_UM = 20_000.0
_WANDER_PERIODS_S = np.geomspace(30.0, 3_600.0, 8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """A column of `settings`; `focus_um` is the best WD at age 0 and the voltage it was set up at.

    `phases_rad` (8,) make the focus wander, `skew_rad` is the direction in which the field shifts.
    """

    settings: ColumnSettings
    alpha_mrad: float
    focus_um: float
    magnification: int
    phases_rad: tuple[float, ...]
    skew_rad: float

    @classmethod
    def drawn(cls, settings: InstrumentSettings, focus_um: float, rng: np.random.Generator) -> Self:
        """A column of an instrument; `rng` decides how it wanders and which way it shifts."""
        return cls(
            settings=settings.column,
            alpha_mrad=settings.alpha_mrad,
            focus_um=focus_um,
            magnification=settings.magnification,
            phases_rad=tuple(rng.uniform(0.0, 2.0 * np.pi, len(_WANDER_PERIODS_S)).tolist()),
            skew_rad=float(rng.uniform(0.0, 2.0 * np.pi)),
        )

    def drift_um(self, age_s: float) -> float:
        """How far the best WD has drifted since age 0: a steady creep, and random wandering.

        The wandering is a sum of sines with periods from half a minute to an hour, whose power grows with the period as
        in a random walk; so it is a function of the age alone, and bounded.
        """
        turns = 2.0 * np.pi * age_s / _WANDER_PERIODS_S
        amplitude = np.sqrt(2.0 * _WANDER_PERIODS_S / _WANDER_PERIODS_S.sum())
        wander = float(amplitude @ (np.sin(turns + self.phases_rad) - np.sin(self.phases_rad)))
        return self.settings.drift_um_per_min * age_s / 60.0 + self.settings.wander_um * wander

    def focus_wd_um(self, age_s: float, kv: float) -> float:
        """The best WD of the specimen's plane."""
        shift_um = focus_shift_um(kv) - focus_shift_um(self.settings.kv)
        return self.focus_um + self.drift_um(age_s) + shift_um

    def optics(self, wd_um: float, kv: float) -> Optics:
        """The beam at a WD: behind an aperture, the convergence angle shrinks as the WD grows."""
        alpha = self.alpha_mrad * 1e-3
        if self.settings.aperture_um is not None:
            alpha = alpha_rad(self.settings.aperture_um, wd_um)
        beam = Beam(
            kv=kv,
            spot=self.settings.spot,
            energy_spread_ev=self.settings.energy_spread_ev,
            chromatic_mm=self.settings.chromatic_mm,
            spherical_mm=self.settings.spherical_mm,
        )
        return Optics(
            alpha_rad=alpha,
            probe_nm=beam.probe_nm(alpha),
            astigmatism_um=(self.settings.astigmatism_x_um, self.settings.astigmatism_y_um),
            beam=beam if self.settings.probe is Probe.WAVE else None,
        )

    def rotation_rad(self, magnification: float, wd_um: float) -> float:
        """Rotation of the scan at a magnification and a WD, relative to the start's and the best one."""
        with_wd_rad = (
            1e-3 * math.radians(self.settings.wd_rotation_deg_per_mm) * self._off_um(wd_um)
        )
        return math.radians(self.settings.rotation_deg) * self._decades(magnification) + with_wd_rad

    def shift_um(self, magnification: float, wd_um: float) -> Place:
        """Shift of the field's centre: a share of its width with the magnification, and a way with the WD."""
        width_um = REFERENCE_WIDTH_UM / magnification
        far_um = 0.01 * self.settings.shift_pct * width_um * self._decades(magnification)
        far_um += 1e-3 * self.settings.wd_shift_nm_per_um * self._off_um(wd_um)
        return far_um * math.cos(self.skew_rad), far_um * math.sin(self.skew_rad)

    def zoom(self, wd_um: float) -> float:
        """By which the nominal magnification is to be multiplied at a WD; 1 at the best one."""
        return 1.0 + 1e-5 * self.settings.wd_zoom_pct_per_mm * self._off_um(wd_um)

    def _off_um(self, wd_um: float) -> float:
        """How far a WD is from the best one at the start, at most 20 mm: the laws are straight lines."""
        return min(max(wd_um - self.focus_um, -_STRAIGHT_UM), _STRAIGHT_UM)

    def _decades(self, magnification: float) -> float:
        return math.log10(magnification / self.magnification)


def rested_lens(settings: InstrumentSettings, wd_um: float) -> Lens:
    """The lens of an instrument that has stood at `wd_um` for a long time."""
    column = settings.column
    memory = Memory.fresh(wd_um, backlash_um=column.backlash_um, hysteresis_um=column.hysteresis_um)
    return Lens.resting(memory, now_s=0.0, time_constant_s=settings.time_constant_s)


def draw_wds(settings: InstrumentSettings, rng: np.random.Generator) -> tuple[float, float]:
    """(focus, start) in um: as set, or drawn with the start 5 to 20 depths of focus away, at most 2 mm."""
    dof_um = depth_of_focus_um(settings.magnification, settings.alpha_rad)
    focus_um = float(rng.uniform(9_000.0, 15_000.0))
    away_um = min(2_000.0, float(rng.uniform(5.0, 20.0)) * dof_um) * float(rng.choice((-1.0, 1.0)))
    if settings.focus_wd_um is not None:
        focus_um = settings.focus_wd_um
    elif settings.start_wd_um is not None:
        focus_um = settings.start_wd_um - away_um
    start_um = focus_um + away_um if settings.start_wd_um is None else settings.start_wd_um
    return _clip(focus_um), _clip(start_um)


def _clip(wd_um: float) -> float:
    return min(max(wd_um, WD_UM.low), WD_UM.high)
