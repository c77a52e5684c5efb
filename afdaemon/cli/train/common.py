"""What the training commands share: progress bar, device, simulated frames, and the end of a run."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

    from afdaemon.models.training.parallel import Team
    from afdaemon.models.training.presets import Preset
    from afdaemon.models.training.trainer import Run, TrainingProgress
    from afdaemon.sim.datasets.dataset1 import Dataset1, Part
    from afdaemon.sim.datasets.scenes import LabelledFrames

RUNS = Path("runs")
DEFAULT_MICROGRAPHS = Path("../shared/data/micrographs")


@contextmanager
def progress_bar(title: str, *, shown: bool = True) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar; call it with (done, total, loss)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, refresh_per_second=1, speed_estimate_period=300, disable=not shown
    ) as bar:
        task = bar.add_task(title, total=None, loss=0.0)
        yield lambda done, total, loss: bar.update(task, completed=done, total=total, loss=loss)


@contextmanager
def steps_bar(title: str, team: "Team") -> "Iterator[Callable[[TrainingProgress], None]]":
    """A progress bar of training steps; one for a team."""
    with progress_bar(title, shown=team.first) as update:
        yield lambda p: update(p.step, p.steps, p.loss)


def file_to_write(out: Path | None, usual: Path) -> Path:
    """What was asked for, or a file under `runs/`: training never replaces weights that are in use unless told to."""
    return out or RUNS / usual.name


def told_where(path: Path, usual: Path, seconds: float) -> str:
    """Where the result is, and how it comes to be used."""
    done = f"wrote {path} after {seconds / 60:.1f} min"
    if path.resolve() == usual.resolve():
        return f"{done}; it is used from now on"
    return f"{done}. It is not used yet: name it in a setting or an option, or train with --out {usual}"


def say(team: "Team", text: str) -> None:
    """Print a line, once for a team."""
    if team.first:
        typer.echo(text)


def prepared_device(workers: int) -> "torch.device":
    """The device to train on. On a CPU a drawing process leaves some of a core to the training, which takes them all.

    With several of them they get a core each: sharing slows both.
    """
    import torch

    from afdaemon.models.memory import keep_freed_memory

    keep_freed_memory()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, cores // processes - max(0, workers - 1)))
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def split_micrographs(folder: Path) -> tuple[list[Path], list[Path]]:
    """Micrographs to train on, and those held back for testing; both empty without the folder."""
    from afdaemon.sim.datasets.frames import find_micrographs, held_back

    found = find_micrographs(folder)
    return [p for p in found if not held_back(p)], [p for p in found if held_back(p)]


def names_of(micrographs: list[Path]) -> list[str]:
    """As cards list them: folder and file."""
    return [f"{path.parent.name}/{path.name}" for path in micrographs]


def fast_dataset1() -> "Dataset1":
    """Dataset 1 at the sampling that networks judge."""
    from afdaemon.sim.datasets.dataset1 import Dataset1

    return Dataset1(width_px=320, height_px=240)


def dataset1_scenes(
    part: "Part", each: int, *, team: "Team", workers: int = 0
) -> "DataLoader[LabelledFrames]":
    """Fast-mode frames of the first `each` scenes of each specimen in a part of Dataset 1; this process' share of them.

    `workers` processes image them.
    """
    from torch.utils.data import DataLoader

    scenes = _Scenes(part, each, team)
    return DataLoader(scenes, batch_size=None, num_workers=workers)  # type: ignore[arg-type]  # a list will do


class _Scenes:
    """Scenes by their place in a list."""

    def __init__(self, part: "Part", each: int, team: "Team") -> None:
        from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS

        self._data = data = fast_dataset1()
        specimens = PUBLISHED_MAGNIFICATIONS
        places = [(s, n) for s in specimens for n in data.scenes(part, s)[:each]]
        self._places = places[team.rank :: team.size]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: int) -> "LabelledFrames":
        return self._data.frames(*self._places[at])


def keeper(team: "Team", preset: "Preset", folder: Path) -> "Callable[[Run[Any]], None]":
    """Writes the state of a run when it is due; once for a team."""
    from afdaemon.models.training.run_state import write_state

    def keep(run: "Run[Any]") -> None:
        if team.first:
            write_state(run, preset.settings, folder)

    return keep


def notes_of(preset: "Preset", run: "Run[Any]", team: "Team", workers: int) -> dict[str, Any]:
    """What a card says about a training run in addition to its settings and data."""
    from afdaemon.models.training.parallel import circumstances

    return {
        "preset": preset.name,
        "source": preset.source,
        "augmentation": asdict(preset.augmentation),
        "expert_spread": preset.expert_spread,
        "workers": workers,
        "machine": circumstances(team),
        "best_validation_loss": run.standing.best_loss,
    }
