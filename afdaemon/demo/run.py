"""One press of autofocus, and how it ended in truth."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from afdaemon.api import schemas
from afdaemon.api.client import Client
from afdaemon.demo.processes import Stage
from afdaemon.demo.scene import Scene

OnEvent = Callable[[schemas.Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRun:
    """How a run ended. `best_wd_um` is where the instrument was left if it converged; errors are from the truth."""

    specimen: str
    magnification: int
    start_wd_um: float
    best_wd_um: float | None
    true_wd_um: float
    final_wd_um: float
    error_um: float | None
    error_dof: float | None
    score: float | None
    readings: dict[str, int]
    converged: bool
    reason: str
    detail: str
    restored: bool
    seconds: float
    seed: int
    dof_um: float

    def as_json(self) -> dict[str, Any]:
        """All fields, numbers rounded for reading."""
        rounded = {"seconds": 2, "score": 3, "error_dof": 3}
        return {
            key: round(value, rounded.get(key, 2)) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }

    @property
    def start_error_um(self) -> float:
        """How far from focus it began."""
        return abs(self.start_wd_um - self.true_wd_um)

    @property
    def final_error_um(self) -> float:
        """How far from focus the instrument was left, whatever was claimed."""
        return abs(self.final_wd_um - self.true_wd_um)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run with what a report draws: its trace and its first and last frame (JPEG bytes)."""

    run: DemoRun
    trace: tuple[schemas.TraceRow, ...]
    first_frame: bytes
    last_frame: bytes


def show(stage: Stage, client: Client, scene: Scene, on_event: OnEvent | None = None) -> Shown:
    """Press autofocus once on `scene`."""
    with stage.instrument(scene, client) as instrument:
        job = client.autofocus(on_event=on_event)
        truth = instrument.truth()
        frames = instrument.frames()
    return Shown(
        run=_judged(scene, job, truth),
        trace=tuple(job.trace),
        first_frame=frames[0].read_bytes() if frames else b"",
        last_frame=frames[-1].read_bytes() if frames else b"",
    )


def _judged(scene: Scene, job: schemas.Job, truth: dict[str, Any]) -> DemoRun:
    true_um = float(truth["focus_wd_um"])
    error_um = None if job.best_wd_um is None else abs(job.best_wd_um - true_um)
    commands = truth["commands"]
    return DemoRun(
        specimen=scene.specimen,
        magnification=scene.magnification,
        start_wd_um=scene.start_wd_um,
        best_wd_um=job.best_wd_um,
        true_wd_um=true_um,
        final_wd_um=float(commands[-1]["wd_um"]) if commands else scene.start_wd_um,
        error_um=error_um,
        error_dof=None if error_um is None else error_um / scene.dof_um,
        score=job.score,
        readings=job.readings.model_dump(),
        converged=job.converged,
        reason=job.reason or job.state,
        detail=job.detail,
        restored=job.restored,
        seconds=job.seconds,
        seed=scene.seed,
        dof_um=scene.dof_um,
    )
