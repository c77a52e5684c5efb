"""`afdaemon train`: the networks, from frames of the simulator and of real micrographs."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from afdaemon.clock import SystemClock

if TYPE_CHECKING:
    import torch

    from afdaemon.models.data import FrameSource
    from afdaemon.models.scorer import FocusScorer
    from afdaemon.models.train_acnet import FocusSeries

app = typer.Typer(no_args_is_help=True, help="Train the networks.")

DEFAULT_MICROGRAPHS = Path("../shared/data/micrographs")
_SETS_PER_BATCH = 4
_VALIDATION_BATCHES = 20


@contextmanager
def _progress_bar(title: str) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar; call it with (done, total, loss)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, refresh_per_second=1, speed_estimate_period=300) as bar:
        task = bar.add_task(title, total=None, loss=0.0)
        yield lambda done, total, loss: bar.update(task, completed=done, total=total, loss=loss)


def _frame_source(micrographs: list[Path]) -> "FrameSource":
    """Frames of the simulator and of these micrographs, as the training wants them."""
    from afdaemon.sim.dataset import Recipe, stream

    return lambda seed: stream(Recipe(), micrographs, seed=seed)


def _split_micrographs(folder: Path) -> tuple[list[Path], list[Path]]:
    from afdaemon.sim.dataset import find_micrographs, held_back

    found = find_micrographs(folder)
    return [p for p in found if not held_back(p)], [p for p in found if held_back(p)]


@app.command()
def aenet(
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="training steps")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-6, max=1.0, help="highest learning rate")
    ] = None,
    keep: Annotated[Path, typer.Option(help="folder for the state to go on from")] = Path(
        "runs/aenet"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="go on from that folder")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
    workers: Annotated[int, typer.Option(min=0, help="processes that draw frames")] = 1,
) -> None:
    """Train AENet.compact on drawn specimens and micrographs (about 80 minutes on two cores)."""
    import torch

    from afdaemon.models import train_aenet, trainer
    from afdaemon.models.aenet import AENetCompact
    from afdaemon.models.checkpoint import WEIGHTS_FOLDER
    from afdaemon.models.data import batches

    used, kept = _split_micrographs(micrographs)
    typer.echo(f"micrographs: {len(used)} to train on, {len(kept)} held back")
    recipe = train_aenet.CPU_RECIPE
    settings = replace(
        recipe,
        steps=steps or recipe.steps,
        learning_rate=learning_rate or recipe.learning_rate,
        seed=seed,
    )
    device = _prepared_device(workers)
    torch.manual_seed(seed)
    run = trainer.begin(AENetCompact(), settings, device)
    if resume:
        trainer.resume(run, settings, keep)
        typer.echo(f"going on from step {run.step}")
    clock = SystemClock()
    began_s = clock.now_s()
    stream = batches(
        _frame_source(used),
        seed=seed + 7919 * run.step,  # a later part sees frames of its own
        sets_per_batch=_SETS_PER_BATCH,
        workers=workers,
    )
    with _progress_bar("AENet") as update:
        model = trainer.train(
            run,
            settings,
            train_aenet.loss_on(device),
            stream,
            on_progress=lambda p: update(p.step, p.steps, p.loss),
            keep=keep,
        )
    validation = batches(_frame_source(kept), seed=seed + 777, sets_per_batch=8, workers=0)
    metrics = train_aenet.evaluate(model, validation, _VALIDATION_BATCHES)
    typer.echo(f"unseen scenes: {metrics}")
    data = {
        "source": "simulated frames, afdaemon.sim.dataset",
        "recipe": _recipe_fields(),
        "micrographs": [f"{p.parent.name}/{p.name}" for p in used],
        "held_back": [f"{p.parent.name}/{p.name}" for p in kept],
        "device": device.type,
    }
    seconds = clock.now_s() - began_s
    path = out or WEIGHTS_FOLDER / "aenet_compact.safetensors"
    train_aenet.save(model, path, settings=settings, data=data, metrics=metrics, seconds=seconds)
    typer.echo(f"wrote {path} after {seconds / 60:.1f} min")


def _prepared_device(workers: int) -> "torch.device":
    """The device to train on. On a CPU the drawing processes get a core each: sharing slows both."""
    import torch

    from afdaemon.models.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - workers))
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _recipe_fields() -> dict[str, object]:
    from afdaemon.sim.dataset import Recipe

    return asdict(Recipe())


@app.command()
def acnet(
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    series: Annotated[int, typer.Option(min=10, help="focus series to image and score")] = 160,
    episodes: Annotated[int | None, typer.Option(min=1, help="training episodes")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
) -> None:
    """Train ACNet on focus series scored by the shipped AENet (about 10 minutes on two cores)."""
    from afdaemon.models import train_acnet
    from afdaemon.models.checkpoint import WEIGHTS_FOLDER
    from afdaemon.models.memory import keep_freed_memory
    from afdaemon.models.scorer import load_scorer

    keep_freed_memory()
    used, kept = _split_micrographs(micrographs)
    recipe = train_acnet.TrainConfig(seed=seed)
    config = replace(recipe, episodes=episodes or recipe.episodes)
    clock = SystemClock()
    began_s = clock.now_s()
    scorer = load_scorer()
    with _progress_bar("series") as update:
        bank = _scored_series(scorer, used, series, seed, lambda n: update(n, series, 0.0))
        unseen = _scored_series(scorer, kept, series // 4, seed + 777, lambda _: None)
    with _progress_bar("ACNet") as update:
        network = train_acnet.train(config, bank, update)
    metrics = train_acnet.evaluate(network, unseen, config)
    typer.echo(f"unseen series: {metrics}")
    data = {
        "source": "simulated focus series, afdaemon.sim.series",
        "series": series,
        "micrographs": [f"{p.parent.name}/{p.name}" for p in used],
        "scored_by": scorer.card.sha256,
    }
    seconds = clock.now_s() - began_s
    path = out or WEIGHTS_FOLDER / "acnet.safetensors"
    train_acnet.save(network, path, config=config, data=data, metrics=metrics, seconds=seconds)
    typer.echo(f"wrote {path} after {seconds / 60:.1f} min")


def _scored_series(
    scorer: "FocusScorer",
    micrographs: list[Path],
    count: int,
    seed: int,
    on_series: Callable[[int], None],
) -> "list[FocusSeries]":
    """Image `count` focus series and score every frame of them."""
    import numpy as np

    from afdaemon.models.train_acnet import FocusSeries
    from afdaemon.sim.series import focus_series

    scored = []
    for imaged in itertools.islice(focus_series(micrographs, seed=seed), count):
        readings = [scorer.score(frame, imaged.magnification) for frame in imaged.pixels]
        scored.append(
            FocusSeries(
                magnification=imaged.magnification,
                dof_um=imaged.dof_um,
                offset_um=imaged.offset_um,
                score=np.array([r.score for r in readings]),
                variance=np.array([r.variance for r in readings]),
                entropy=np.array([r.entropy for r in readings]),
            )
        )
        on_series(len(scored))
    return scored
