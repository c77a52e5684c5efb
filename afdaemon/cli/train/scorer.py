"""`afdaemon train scorer`: the published AENet, PACF, VGG or ResNet, from Dataset 1 or a user's own frames."""

import math
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track

from afdaemon.cli.extras import needs
from afdaemon.cli.labelled_frames import open_labelled
from afdaemon.cli.train.common import (
    dataset1_scenes,
    fast_dataset1,
    file_to_write,
    keeper,
    names_of,
    notes_of,
    prepared_device,
    say,
    split_micrographs,
    steps_bar,
    told_where,
)
from afdaemon.clock import SystemClock
from afdaemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from afdaemon.models.scorers.frame_bank import Bank
    from afdaemon.models.scorers.networks.base import ScoringNetwork
    from afdaemon.models.training.parallel import Team
    from afdaemon.models.training.presets import Preset
    from afdaemon.models.training.trainer import Run
    from afdaemon.sim.datasets.dataset1 import Part
    from afdaemon.sim.datasets.scenes import LabelledFrames

_JUDGES_SHARE = 5
"""One scene to judge by for this many to learn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A training run without its team. `data` is a folder of labelled frames, `micrographs` are files."""

    preset: "Preset"
    data: Path | None
    micrographs: list[Path]
    keep: Path
    resume: bool
    workers: int


@needs("daemon")
def scorer(
    name: Annotated[str, typer.Argument(help="AENet.reference, PACF, VGG11 .. ResNet101")],
    preset: Annotated[
        str | None, typer.Option(help="published, kim or kim-cpu; by default the network's own")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="training steps")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="windows per step and process")] = None,
    scenes: Annotated[
        int | None, typer.Option(min=1, max=875, help="scenes of each specimen of Dataset 1")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="folder of labelled frames, in place of Dataset 1")
    ] = None,
    micrographs: Annotated[
        Path | None, typer.Option(help="folder of real micrographs to add as specimens")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="folder for the state to resume from (runs/NAME)")
    ] = None,
    keep_every: Annotated[
        int | None, typer.Option(min=1, help="steps between two saved states")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="resume from that folder")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    workers: Annotated[int, typer.Option(min=0, help="processes that prepare frames")] = 1,
) -> None:
    """Train a network of the zoo to score frames as Dataset 1's or a folder's labels do."""
    from afdaemon.models.scorers import zoo
    from afdaemon.models.training.parallel import joined

    network = _fresh(name, seed)
    plan = _Plan(
        preset=_chosen(
            name, preset, scenes, seed=seed, steps=steps, batch=batch, keep_every=keep_every
        ),
        data=data,
        micrographs=_micrographs(micrographs),
        keep=keep or Path("runs") / name,
        resume=resume,
        workers=workers,
    )
    usual = zoo.weights_of(name)
    path = file_to_write(out, usual)
    with joined(prepared_device(workers)) as team:
        say(team, f"{name}: preset {plan.preset.name} ({plan.preset.source})")
        run = _begun(plan, team, network)
        train_on, judge_by = _banks(plan, team)
        clock = SystemClock()
        began_s = clock.now_s()
        _train(plan, team, network, run, train_on, judge_by)
        seconds = clock.now_s() - began_s
        if team.first:
            best = replace(network, module=run.averaged)
            notes = notes_of(plan.preset, run, team, workers)
            notes["seconds"] = round(seconds)
            _write(plan, best, run, path, notes, judge_by)
            typer.echo(told_where(path, usual, seconds))


def _fresh(name: str, seed: int) -> "ScoringNetwork":
    """The network with weights drawn from the seed. Raises `ModelError` if there is none of this name."""
    import torch

    from afdaemon.models.scorers import zoo

    torch.manual_seed(seed)
    return zoo.build(name)


def _chosen(name: str, preset: str | None, scenes: int | None, **changes: Any) -> "Preset":
    """The preset asked for, or the network's own, with the changes given on the command line."""
    import torch

    from afdaemon.models.scorers import zoo
    from afdaemon.models.training.presets import KIM, KIM_CPU, preset_called

    own = zoo.NETWORKS[name].preset
    if own == KIM.name and not torch.cuda.is_available():
        own = KIM_CPU.name
    chosen = preset_called(preset or own)
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(
        chosen,
        settings=replace(chosen.settings, **given),
        scenes=scenes or chosen.scenes,
    )


def _banks(plan: _Plan, team: "Team") -> "tuple[Bank, Bank]":
    """This process's share of the frames to learn from, and of those to judge by."""
    import numpy as np

    from afdaemon.models.scorers.frame_bank import (
        bank_of_scenes,
        bank_of_shots,
        check_fits,
        expert_scores,
    )
    from afdaemon.sim.datasets.dataset1 import Part

    if plan.data is not None:
        folder = open_labelled(plan.data)
        parts = [folder.part(part)[team.rank :: team.size] for part in ("train", "validate")]
        train_on, judge_by = (
            bank_of_shots(track(p, "frames", disable=not team.first)) for p in parts
        )
    else:
        judges = math.ceil(plan.preset.scenes / _JUDGES_SHARE)
        exact = bank_of_scenes(_drawn(plan, Part.TRAIN, plan.preset.scenes, team))
        rng = np.random.default_rng((plan.preset.settings.seed, team.rank))
        spread = plan.preset.expert_spread
        train_on = replace(exact, scores=expert_scores(exact.scores, spread, rng))
        judge_by = bank_of_scenes(_drawn(plan, Part.VALIDATE, judges, team))
    for bank in (train_on, judge_by):
        check_fits(bank, plan.preset.augmentation)
    return train_on, judge_by


def _drawn(plan: _Plan, part: "Part", each: int, team: "Team") -> "Iterator[LabelledFrames]":
    """Scenes of Dataset 1; to learn from, also as many of micrographs as of one specimen, if asked for."""
    from afdaemon.sim.datasets.dataset1 import Part
    from afdaemon.sim.datasets.frames import Recipe, stream

    scenes = dataset1_scenes(part, each, team=team, workers=plan.workers)
    yield from track(scenes, f"frames to {part}", disable=not team.first)
    if plan.micrographs and part is Part.TRAIN:
        recipe = Recipe(weights={"micrograph": 1.0}, window_px=None, frames_at_once=8)
        frames = stream(recipe, plan.micrographs, seed=plan.preset.settings.seed + team.rank)
        yield from islice(frames, math.ceil(each / team.size))


def _micrographs(folder: Path | None) -> list[Path]:
    """Those to learn from. Raises `UsageError` if a folder was asked for and holds none."""
    used = split_micrographs(folder)[0] if folder else []
    if folder and not used:
        raise UsageError(
            f"there are no micrographs under {folder}",
            remedy="give a folder of PNG, JPEG or TIFF pictures, or leave --micrographs out",
        )
    return used


def _begun(plan: _Plan, team: "Team", network: "ScoringNetwork") -> "Run[nn.Module]":
    """The run at its first step, or where the saved one stood."""
    from afdaemon.models.training import run_state, trainer

    settings = plan.preset.settings
    run = trainer.begin(network.module, settings, team.device)
    if plan.resume:
        run_state.resume(run, settings, plan.keep)
        say(team, f"going on from step {run.step}")
    return run


def _train(
    plan: _Plan,
    team: "Team",
    network: "ScoringNetwork",
    run: "Run[nn.Module]",
    train_on: "Bank",
    judge_by: "Bank",
) -> None:
    """Take the remaining steps; then the run's averaged network is the best one, on the CPU."""
    from afdaemon.models.scorers.frame_bank import BankStream
    from afdaemon.models.scorers.train import loss_on, validator
    from afdaemon.models.training import trainer
    from afdaemon.models.training.batches import beside, stream_seed

    preset, settings = plan.preset, plan.preset.settings
    windows = BankStream(
        train_on,
        network.prepare,
        preset.augmentation,
        batch=settings.batch,
        seed=stream_seed(settings.seed, step=run.step, rank=team.rank),
    )
    with steps_bar(network.name, team) as update:
        trainer.train(
            run,
            settings,
            loss_on(team.device, bf16=settings.bf16),
            beside(windows, plan.workers),
            team=team,
            on_progress=update,
            validate=validator(network, judge_by, preset, team.device),
            keep=keeper(team, preset, plan.keep),
        )


def _write(
    plan: _Plan,
    network: "ScoringNetwork",
    run: "Run[nn.Module]",
    path: Path,
    notes: dict[str, Any],
    judge_by: "Bank",
) -> None:
    """Write weights, card and curves."""
    import torch

    from afdaemon.models.scorers import zoo
    from afdaemon.models.scorers.metrics import agreement
    from afdaemon.models.scorers.train import judge_bank
    from afdaemon.models.training.history import write_history

    found = judge_bank(network, judge_by, plan.preset, torch.device("cpu"))
    metrics = {k: round(v, 4) for k, v in asdict(agreement(found, judge_by.scores)).items()}
    typer.echo(f"validation part: {metrics}")
    training = {**asdict(plan.preset.settings), **notes, "data": _data_note(plan)}
    zoo.save(network, path, training=training, metrics=metrics, half=True)
    write_history(run.history, path)


def _data_note(plan: _Plan) -> dict[str, Any]:
    """Where the frames came from, for the card."""
    if plan.data is not None:
        return {"source": "folder of labelled frames", "folder": str(plan.data.resolve())}
    return {
        "source": "training part of Dataset 1, afdaemon.sim.datasets.dataset1",
        "dataset": asdict(fast_dataset1()),
        "scenes_of_each_specimen": plan.preset.scenes,
        "micrographs": names_of(plan.micrographs),
    }
