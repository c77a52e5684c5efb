"""Calibrated: is the depth of focus that `afctl calibrate` measures the true one, or is the measurement refused?

Strange instruments (see strange.py): wave-optical probes, coloured noise, relief, a lens with hysteresis that moves the
image; convergence angles from 2 to 8 mrad, which the service takes for 5. Specimens with fine detail, and smooth or
periodic ones that AENet may misjudge.

    python benchmarks/calibrated.py [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, cast

from focus_player import player
from focus_runs import ALPHA_MRAD, Start, Task, reading_of
from reporting import conclude, parse
from strange_runs import strange_tasks

from afdaemon.api import schemas as s
from afdaemon.calibration import CalibrationError, Measured
from afdaemon.cli.calibrate.measure import measure
from afdaemon.clock import ManualClock
from afdaemon.evaluate.section import Bar, at_least
from afdaemon.service import translate
from afdaemon.sim.instrument.settings import WD_UM, InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.optics import depth_of_focus_um

if TYPE_CHECKING:
    from afdaemon.api.client import Client

FINE = ("tin_balls", "tem_grid", "woven_fabric", "mixture")
HARD = ("foam", "section", "grating", "facets")
_RUNS, _QUICK_RUNS = 20, 1
_OFF = 0.2
"""Largest error of a depth of focus that counts as right, as a share."""
_NEAR_DOF = 5.0
_POINTS = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """One calibration: the depths of focus over the true one, or why it was refused."""

    specimen: str
    magnification: int
    dof: float | None = None
    by_score: float | None = None
    refused: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether a depth of focus was told that is off by too much."""
        return self.dof is not None and not 1.0 - _OFF <= self.dof <= 1.0 / (1.0 - _OFF)


class Bench:
    """A simulated instrument and the scorer, as the daemon's client shows them."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._clock = ManualClock()
        self._world = World(task.settings, clock=self._clock)

    def wd(self) -> s.Focus:
        """Where it stands."""
        truth = self._world.truth()
        return s.Focus(wd_um=truth.lens_wd_um, magnification=float(self._world.magnification))

    def set_wd(self, wd_um: float) -> s.Focus:
        """Go there."""
        self._world.command(wd_um, self._world.magnification)
        asyncio.run(self._world.settle())
        return self.wd()

    def autofocus(self) -> s.Job:
        """A job by the fast procedure."""
        run, trace = player().play_traced(self._task, "fast", calibrated=False, world=self._world)
        return s.Job(
            job="job",
            state=s.JobState.SUCCEEDED if run.converged else s.JobState.FAILED,
            converged=run.converged,
            reason=run.reason,
            best_wd_um=self._world.truth().lens_wd_um if trace else None,
        )

    def limits(self) -> s.Limits:
        """Those of the instrument."""
        hard = s.Range(min_um=WD_UM.low, max_um=WD_UM.high)
        return s.Limits(min_um=WD_UM.low, max_um=WD_UM.high, hard=hard)

    def score_image(self) -> s.Score:
        """A frame, measured."""
        shot = asyncio.run(self._world.expose())
        height, width = shot.pixels.shape
        return translate.score_of_frame(reading_of(player().scorer, shot), width, height)

    def measured(self) -> Measured:
        """What `afctl calibrate` measures. Raises `CalibrationError`."""
        client = cast("Client", self)
        return measure(client, points=_POINTS, told=lambda _: None, clock=self._clock)


def main() -> int:
    """Calibrate."""
    arguments = parse(__doc__ or "", quick="one instrument a specimen")
    count = _QUICK_RUNS if arguments.quick else _RUNS
    jobs = list(_tasks(count, arguments.seed))
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = list(pool.map(_calibrate, jobs))
    lines = [_HEAD, *(_line(name, _of(found, name)) for name in (*FINE, *HARD)), _LEGEND]
    rows = [asdict(one) for one in found]
    table = "\n".join(lines)
    return conclude(arguments, "benchmarks/calibrated.py", table, _bars(found), rows)


def _tasks(count: int, seed: int) -> list[Task]:
    """Strange instruments with a specimen each of all of them."""
    names = (*FINE, *HARD)
    start = Start(reach_dof=_NEAR_DOF)
    drawn = strange_tasks(count * len(names), start, (), seed=seed)
    return [_with(task, names[number % len(names)]) for number, task in enumerate(drawn)]


def _with(task: Task, specimen: str) -> Task:
    settings: InstrumentSettings = replace(task.settings, specimen=specimen)
    return Task(settings=settings, assumed_alpha_mrad=ALPHA_MRAD)


def _calibrate(task: Task) -> Calibrated:
    settings = task.settings
    told = Calibrated(specimen=settings.specimen, magnification=settings.magnification)
    true_um = depth_of_focus_um(settings.magnification, settings.alpha_rad)
    try:
        found = Bench(task).measured()
    except CalibrationError as error:
        return replace(told, refused=str(error))
    return replace(told, dof=found.dof_um / true_um, by_score=found.dof_by_score_um / true_um)


def _of(found: Sequence[Calibrated], name: str) -> list[Calibrated]:
    return [one for one in found if one.specimen == name]


_HEAD = (
    f"{'specimen':<18}{'runs':>6}{'measured':>10}{'wrong':>7}{'DoF / true: least':>19}{'most':>7}"
    f"{'by score: least':>17}{'most':>7}"
)
_LEGEND = f"wrong: told, but off by more than {_OFF:.0%}; the others were refused"


def _line(name: str, runs: Sequence[Calibrated]) -> str:
    told = sorted(one.dof for one in runs if one.dof is not None) or [float("nan")]
    scored = sorted(one.by_score for one in runs if one.by_score is not None) or [float("nan")]
    measured = sum(one.dof is not None for one in runs)
    return (
        f"{name:<18}{len(runs):>6}{measured:>10}{sum(one.is_wrong for one in runs):>7}"
        f"{told[0]:>19.2f}{told[-1]:>7.2f}{scored[0]:>17.2f}{scored[-1]:>7.2f}"
    )


def _bars(found: Sequence[Calibrated]) -> list[Bar]:
    wrong = sum(one.is_wrong for one in found)
    fine = [one for one in found if one.specimen in FINE]
    share = sum(one.dof is not None for one in fine) / len(fine)
    return [
        Bar("none is told a depth of focus that is off by more than 20 %", wrong == 0, f"{wrong}"),
        at_least("share measured of specimens with fine detail", share, 0.8),
    ]


if __name__ == "__main__":
    sys.exit(main())
