"""Instruments that nobody here made: drawn columns, detectors and lenses, and specimens that nothing learned from."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from focus_runs import ALPHA_MRAD, MAGNIFICATIONS, MICROGRAPHS_AT, Run, Start, Task, places_um

from afdaemon.sim.datasets.frames import held_back
from afdaemon.sim.datasets.scenes import happens, log_uniform
from afdaemon.sim.instrument.settings import (
    SCANS,
    ColumnSettings,
    DetectorSettings,
    FrameMode,
    InstrumentSettings,
    Probe,
    ScanSettings,
    StageSettings,
)
from afdaemon.sim.instrument.world import World
from afdaemon.sim.optics import depth_of_focus_um, is_in_focus, pixel_um

FIELDS = ("butterfly_wing", "woven_fabric", "foam", "section", "labyrinth")
"""Drawn specimens, none of which anything is trained on; held-back micrographs are added to them."""
GRATING, GRATING_EVERY = "grating", 10
"""Not trained on either; one in so many fields."""
_FRAME_PX = SCANS[FrameMode.FAST].width_px
_NEAR_TRUTH_DOF, _STEP_DOF = 5.0, 0.25
"""How far around the least blur the most gradient energy is looked for, and how finely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangeRun:
    """A job on a strange instrument. `steepest_dof`: how far from the WD with the most gradient energy it ended."""

    run: Run
    steepest_dof: float
    is_grating: bool

    @property
    def by_blur(self) -> bool:
        """Whether it ended within 1 DoF (or 2 um) of the least blur, weighted by detail."""
        return self.run.within_1

    @property
    def by_gradient(self) -> bool:
        """The same of the most gradient energy without noise."""
        return is_in_focus(self.steepest_dof * self.run.dof_um, self.run.dof_um)

    @property
    def is_there(self) -> bool:
        """By either truth."""
        return self.by_blur or self.by_gradient

    @property
    def is_wrong(self) -> bool:
        """Whether it claims a focus that is there by neither truth."""
        return self.run.is_wrong and not self.is_there


def strange_tasks(
    count: int, start: Start, micrographs: Sequence[Path], *, seed: int
) -> Iterator[Task]:
    """Instruments with a specimen and everything else drawn; every tenth field is a grating."""
    rng = np.random.default_rng([seed, 20])
    kept = [path for path in micrographs if held_back(path)]
    names = [*FIELDS, *(["micrograph"] if kept else [])]
    for number in range(count):
        name = names[number % len(names)]
        magnification = start.magnification or round(log_uniform(rng, MAGNIFICATIONS))
        if number % GRATING_EVERY == GRATING_EVERY - 1:
            name = GRATING
        elif name == "micrograph":
            name, magnification = f"image:{kept[int(rng.integers(len(kept)))]}", MICROGRAPHS_AT
        settings = _instrument(name, magnification, start.reach_dof, rng)
        off = log_uniform(rng, (1.0 / start.angle_factor, start.angle_factor))
        yield Task(settings=settings, assumed_alpha_mrad=settings.alpha_mrad * off)


def _instrument(
    name: str, magnification: int, reach_dof: float | None, rng: np.random.Generator
) -> InstrumentSettings:
    alpha_mrad = log_uniform(rng, (0.4 * ALPHA_MRAD, 1.6 * ALPHA_MRAD))
    dof_um = depth_of_focus_um(magnification, 1e-3 * alpha_mrad)
    focus_um, start_um = places_um(dof_um, reach_dof, rng)
    return InstrumentSettings(
        specimen=name,
        magnification=magnification,
        seed=int(rng.integers(2**31)),
        focus_wd_um=focus_um,
        start_wd_um=start_um,
        alpha_mrad=alpha_mrad,
        column=_column(dof_um, magnification, rng),
        detector=_detector(rng),
        scan=ScanSettings(charging=float(rng.uniform(0.0, 0.3))),
        stage=_tilted(dof_um, magnification, rng),
    )


def _column(dof_um: float, magnification: int, rng: np.random.Generator) -> ColumnSettings:
    """A wave-optical probe, astigmatism up to 2 DoF, and a lens that lags, creeps, and moves the image."""
    turn, apart_um = rng.uniform(0.0, 2.0 * math.pi), float(rng.uniform(0.0, 2.0)) * dof_um
    pixel_nm = 1e3 * pixel_um(magnification)
    return ColumnSettings(
        probe=Probe.WAVE,
        kv=log_uniform(rng, (2.0, 30.0)),
        spot=float(rng.uniform(1.0, 4.0)),
        energy_spread_ev=log_uniform(rng, (0.5, 4.0)),
        chromatic_mm=log_uniform(rng, (4.0, 30.0)),
        spherical_mm=log_uniform(rng, (5.0, 80.0)),
        astigmatism_x_um=apart_um * math.cos(turn),
        astigmatism_y_um=apart_um * math.sin(turn),
        hysteresis_um=float(rng.uniform(0.0, 0.3)) * dof_um,
        drift_um_per_min=float(rng.uniform(-1.0, 1.0)) * dof_um,
        wd_shift_nm_per_um=float(rng.uniform(0.0, 1.5)) * pixel_nm / dof_um,
        wd_rotation_deg_per_mm=float(rng.uniform(-5.0, 5.0)),
        wd_zoom_pct_per_mm=float(rng.uniform(-2.0, 2.0)),
    )


def _detector(rng: np.random.Generator) -> DetectorSettings:
    """Coloured noise, and electrons that come in bunches."""
    tau_px = log_uniform(rng, (0.1, 1.5))
    return DetectorSettings(
        current_pa=log_uniform(rng, (15.0, 400.0)),
        contrast=log_uniform(rng, (0.4, 1.6)),
        brightness=float(rng.uniform(0.35, 0.65)),
        gamma=float(rng.uniform(0.7, 1.4)),
        read_noise=log_uniform(rng, (0.5, 12.0)),
        response_ns=tau_px * SCANS[FrameMode.FAST].dwell_ns,
        se_yield=log_uniform(rng, (0.1, 2.0)),
        hunting_pct=float(rng.uniform(1.0, 5.0)) if happens(rng, 0.2) else 0.0,
    )


def _tilted(dof_um: float, magnification: int, rng: np.random.Generator) -> StageSettings:
    """Half of the fields are tilted: their edges lie up to 1 DoF from the middle's focus."""
    half_um = 0.5 * _FRAME_PX * pixel_um(magnification)
    steepest = float(rng.uniform(0.0, 1.0)) if happens(rng, 0.5) else 0.0
    return StageSettings(
        tilt_deg=min(45.0, math.degrees(math.atan(steepest * dof_um / half_um))),
        tilt_azimuth_deg=float(rng.uniform(0.0, 360.0)),
    )


def strange_run(run: Run, task: Task, world: World) -> StrangeRun:
    """A job, judged by both truths."""
    truth = world.truth()
    off_um = truth.wd_um - _steepest_um(world)
    return StrangeRun(
        run=run,
        steepest_dof=abs(off_um) / truth.dof_um,
        is_grating=task.settings.specimen == GRATING,
    )


def _steepest_um(world: World) -> float:
    """The WD near the focus at which the present field would have the most gradient energy without noise."""
    truth = world.truth()
    count = round(_NEAR_TRUTH_DOF / _STEP_DOF)
    places_um = truth.dof_um * _STEP_DOF * np.arange(-count, count + 1) - truth.height_um
    energies = [_gradient_energy(world, float(away_um)) for away_um in places_um]
    top = min(max(int(np.argmax(energies)), 1), len(energies) - 2)
    bent, slope, _ = np.polyfit(places_um[top - 1 : top + 2], energies[top - 1 : top + 2], 2)
    best_um = -0.5 * slope / bent if bent < 0.0 else float(places_um[top])
    return truth.plane_wd_um + float(np.clip(best_um, places_um[0], places_um[-1]))


def _gradient_energy(world: World, away_um: float) -> float:
    field = world.noiseless(away_um)
    return float(
        np.square(np.diff(field, axis=0)).mean() + np.square(np.diff(field, axis=1)).mean()
    )
