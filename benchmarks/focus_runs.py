"""Autofocus jobs on simulated instruments, with no wire in between: how they are drawn, and how they are played."""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.ways import Look, Window

from afdaemon.clock import ManualClock
from afdaemon.control.limits import Limits, Range
from afdaemon.control.state import Procedure, new_job
from afdaemon.control.values import Outcome, Reading, ReadingCount, Reason, Started, TracePoint
from afdaemon.drivers.base import Frame
from afdaemon.evaluate.conversation import Live, converse
from afdaemon.models.scorers.focus_scorer import FocusScorer
from afdaemon.service.looks import Looks
from afdaemon.sim.datasets.scenes import log_uniform
from afdaemon.sim.instrument.conditions import Condition, instrument
from afdaemon.sim.instrument.settings import (
    SCANS,
    WD_UM,
    ColumnSettings,
    DetectorSettings,
    InstrumentSettings,
    ScanSettings,
)
from afdaemon.sim.instrument.told import Truth
from afdaemon.sim.instrument.world import RecordedFrame, World
from afdaemon.sim.optics import depth_of_focus_um, is_in_focus, pixel_um

DRAWN = ("tin_balls", "tem_grid", "gold_nanoparticles", "butterfly_wing", "woven_fabric")
"""Specimens of the runs, the last two never trained on; micrographs are added to them."""
MAGNIFICATIONS = (500.0, 30_000.0)
MICROGRAPHS_AT = 1_000
ALPHA_MRAD = 5.0
_WORSE_DOF, _WRONG_DOF = 0.5, 3.0
_GOLD_FROM = 6_000.0
"""Below it gold is too small to be seen."""
_LIMITS = Limits(hard=Range(lo_um=WD_UM.low, hi_um=WD_UM.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An instrument with flaws, and the convergence angle that the service assumes."""

    settings: InstrumentSettings
    assumed_alpha_mrad: float

    @property
    def noise(self) -> float:
        """Noise of a pixel at half the signal, as a share of the full signal: from counting and from the amplifier."""
        settings = self.settings
        detector = settings.detector.at(settings.column.spot, SCANS[settings.mode].dwell_ns)
        counting = math.sqrt(0.5 / detector.electrons)
        return math.hypot(counting, detector.read_noise / 255.0 / detector.contrast)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where runs start: within `reach_dof` of the focus, or (None) anywhere in the range.

    The assumed convergence angle is off by up to `angle_factor` to either side. Without a `magnification` each run has
    one of its own.
    """

    reach_dof: float | None
    angle_factor: float = 1.0
    magnification: int | None = None

    @property
    def named(self) -> str:
        """In words."""
        where = "anywhere" if self.reach_dof is None else f"+-{self.reach_dof:g} DoF"
        at = "" if self.magnification is None else f", {self.magnification}x"
        return where + at + ("" if self.is_calibrated else ", angle unknown")

    @property
    def is_calibrated(self) -> bool:
        """Whether the assumed convergence angle is the true one."""
        return self.angle_factor == 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How one job went. Distances in true depths of focus (DoF) at the moment when it ended."""

    specimen: str
    magnification: int
    converged: bool
    reason: str
    restored: bool
    readings: int
    looks: int
    score: float | None
    start_dof: float
    end_dof: float
    dof_um: float
    noise: float
    drift_noticed: bool

    @property
    def is_worse(self) -> bool:
        """Whether it ended further from the truth than it began."""
        return self.end_dof > self.start_dof + _WORSE_DOF

    @property
    def is_wrong(self) -> bool:
        """Whether it claims a focus that is not there."""
        return self.converged and self.end_dof > _WRONG_DOF

    @property
    def within_1(self) -> bool:
        """Within 1 DoF of the truth, or 2 um where that is more."""
        return is_in_focus(self.end_dof * self.dof_um, self.dof_um)


def tasks(count: int, start: Start, micrographs: Sequence[Path], *, seed: int) -> Iterator[Task]:
    """Instruments, each with a specimen, magnification, noise, drift, lag and astigmatism of its own."""
    rng = np.random.default_rng(seed)
    names = _specimens(start, micrographs)
    for number in range(count):
        name = names[number % len(names)]
        magnification = start.magnification or round(log_uniform(rng, MAGNIFICATIONS))
        if name == "gold_nanoparticles" and start.magnification is None:
            magnification = round(log_uniform(rng, (_GOLD_FROM, MAGNIFICATIONS[1])))
        if name == "micrograph":
            name = f"image:{micrographs[int(rng.integers(len(micrographs)))]}"
            magnification = MICROGRAPHS_AT
        off = log_uniform(rng, (1.0 / start.angle_factor, start.angle_factor))
        yield Task(
            settings=_instrument(name, magnification, start.reach_dof, rng),
            assumed_alpha_mrad=ALPHA_MRAD * off,
        )


def _specimens(start: Start, micrographs: Sequence[Path]) -> list[str]:
    """The specimens that show detail at that magnification."""
    if start.magnification is None:
        return [*DRAWN, *(["micrograph"] if micrographs else [])]
    return [n for n in DRAWN if n != "gold_nanoparticles" or start.magnification >= _GOLD_FROM]


def _instrument(
    name: str, magnification: int, reach_dof: float | None, rng: np.random.Generator
) -> InstrumentSettings:
    dof_um = depth_of_focus_um(magnification, 1e-3 * ALPHA_MRAD)
    focus_um, start_um = places_um(dof_um, reach_dof, rng)
    turn, apart_um = rng.uniform(0.0, 2.0 * math.pi), float(rng.uniform(0.0, 2.0)) * dof_um
    return instrument(
        Condition.GOOD,
        specimen=name,
        magnification=magnification,
        seed=int(rng.integers(2**31)),
        focus_wd_um=focus_um,
        start_wd_um=start_um,
        alpha_mrad=ALPHA_MRAD,
        column=ColumnSettings(
            astigmatism_x_um=apart_um * math.cos(turn),
            astigmatism_y_um=apart_um * math.sin(turn),
            hysteresis_um=float(rng.uniform(0.0, 0.1)) * dof_um,
            drift_um_per_min=float(rng.uniform(-0.5, 0.5)) * dof_um,
        ),
        detector=DetectorSettings(
            current_pa=log_uniform(rng, (15.0, 400.0)),
            contrast=log_uniform(rng, (0.5, 1.5)),
            read_noise=log_uniform(rng, (0.5, 12.0)),
        ),
        scan=ScanSettings(charging=float(rng.uniform(0.0, 0.3))),
    )


def places_um(
    dof_um: float, reach_dof: float | None, rng: np.random.Generator
) -> tuple[float, float]:
    """WD in focus, and at the start: within reach of it, or (None) anywhere."""
    focus_um = float(rng.uniform(9_000.0, 15_000.0))
    if reach_dof is None:
        return focus_um, float(rng.uniform(WD_UM.low, WD_UM.high))
    away_um = float(rng.uniform(-1.0, 1.0)) * reach_dof * dof_um
    if focus_um + away_um < WD_UM.low:
        away_um = -away_um
    return focus_um, min(focus_um + away_um, WD_UM.high)


def play_traced(
    task: Task, scorer: FocusScorer, procedure: Procedure[Any], world: World | None = None
) -> tuple[Run, tuple[TracePoint, ...]]:
    """One job to its end, and its readings; in a `world` of the task's, which the caller may look at afterwards."""
    world = world or World(task.settings, clock=ManualClock())
    trace, outcome = asyncio.run(_converse(world, scorer, procedure))
    return _run_of(task, world.truth(), outcome), trace


def play_way(
    task: Task, way: Callable[[Look, Window], float], reach_dof: float, world: World | None = None
) -> Run:
    """A search in the way of others, which is given the largest possible distance of the focus, and the true DoF."""
    world = world or World(task.settings, clock=ManualClock())
    start = world.truth()
    window = Window(
        start_um=start.start_wd_um,
        reach_um=reach_dof * start.dof_um,
        dof_um=start.dof_um,
        lowest_um=WD_UM.low,
        highest_um=WD_UM.high,
        pixel_um=pixel_um(world.magnification),
        alpha_rad=task.settings.alpha_rad,
    )

    def look(wd_um: float) -> NDArray[np.uint8]:
        world.command(wd_um, world.magnification)
        return asyncio.run(_seen(world)).pixels

    world.command(way(look, window), world.magnification)
    asyncio.run(world.settle())
    truth = world.truth()
    return _run_of(
        task,
        truth,
        Outcome(
            converged=True,
            reason=Reason.FOCUSED,
            detail="",
            start_wd_um=truth.start_wd_um,
            wd_um=truth.wd_um,
            best_wd_um=truth.wd_um,
            score=None,
            readings=ReadingCount(servo=world.frames),
            restored=False,
        ),
    )


async def _seen(world: World) -> RecordedFrame:
    await world.settle()
    return await world.expose()


def sweep(task: Task, scorer: FocusScorer, places_dof: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (n,) of frames taken at distances (n,) from the focus, one after the other, in DoF.

    NaN where the instrument cannot go.
    """
    world = World(task.settings, clock=ManualClock())
    scores = []
    for away in places_dof:
        truth = world.truth()
        wd_um = truth.focus_wd_um + float(away) * truth.dof_um
        if not WD_UM.low <= wd_um <= WD_UM.high:
            scores.append(math.nan)
            continue
        world.command(wd_um, world.magnification)
        scores.append(reading_of(scorer, asyncio.run(_seen(world))).frame.score)
    return np.array(scores)


def _run_of(task: Task, truth: Truth, outcome: Outcome) -> Run:
    shown = truth.specimen.rsplit("/", 1)[-1]
    return Run(
        specimen=shown if truth.specimen.startswith("image:") else truth.specimen,
        magnification=truth.magnification,
        converged=outcome.converged,
        reason=outcome.reason.value,
        restored=outcome.restored,
        readings=outcome.readings.total,
        looks=outcome.readings.search,
        score=outcome.score,
        start_dof=abs(truth.start_wd_um - truth.focus_wd_um) / truth.dof_um,
        end_dof=abs(truth.wd_um - truth.focus_wd_um) / truth.dof_um,
        dof_um=truth.dof_um,
        noise=task.noise,
        drift_noticed=outcome.drift_noticed,
    )


async def _converse(
    world: World, scorer: FocusScorer, procedure: Procedure[Any]
) -> tuple[tuple[TracePoint, ...], Outcome]:
    state = new_job(procedure, _LIMITS)
    start = Started(wd_um=world.truth().start_wd_um, magnification=float(world.magnification))
    looks = Looks(procedure.profile.dof_um)
    played = await converse(Live(world, partial(_looked, scorer, looks)), state, start)
    await world.settle()  # the way home counts when it is done
    return played


def _looked(scorer: FocusScorer, looks: Looks, shot: RecordedFrame) -> Reading:
    """As the daemon reads the frames of a job."""
    frame = Frame(
        pixels=shot.pixels,
        wd_um=shot.wd_um,
        magnification=float(shot.magnification),
        sequence=shot.number,
        received_s=1e-6 * shot.end_us,
    )
    return looks.read(frame, scorer.score)


def reading_of(scorer: FocusScorer, shot: RecordedFrame) -> Reading:
    """What is measured in a frame by itself."""
    magnification = float(shot.magnification)
    measures = scorer.score(shot.pixels, magnification)
    return Reading(wd_um=shot.wd_um, magnification=magnification, frame=measures)
