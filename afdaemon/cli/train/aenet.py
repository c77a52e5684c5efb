"""`afdaemon train aenet`: AENet.compact, from drawn specimens and real micrographs."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdaemon.cli.extras import needs
from afdaemon.cli.train.common import (
    DEFAULT_MICROGRAPHS,
    dataset1_scenes,
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
    from torch import nn

    from afdaemon.models.aenet.network import AENetCompact
    from afdaemon.models.training.batches import FrameSource
    from afdaemon.models.training.parallel import Team
    from afdaemon.models.training.presets import Preset
    from afdaemon.models.training.trainer import Run
    from afdaemon.sim.datasets.frames import Recipe

_PRESETS = ("cpu", "gpu")
_FAMILIAR_BATCHES = 10
"""Batches of whole frames of the training's own scenes that define what is in distribution, for each judged scene."""
_BLEND_SHARE = 0.5
"""Share of what was learned, if the result is blended."""
_JUDGED_SETS = 13
"""Sets of frames of held-back micrographs and fresh specimens for the final judgement, for each judged scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A training run without its team. `used` and `kept` are micrographs."""

    preset: "Preset"
    recipe: "Recipe"
    used: list[Path]
    kept: list[Path]
    keep: Path
    resume: bool
    teacher: Path | None
    begin_with: Path | None
    blend_with: Path | None
    workers: int
    judged_scenes: int


@needs("daemon")
def aenet(
    out: Annotated[Path | None, typer.Option(help="weight file to write")] = None,
    preset: Annotated[str, typer.Option(help="cpu (windows) or gpu (whole frames)")] = "cpu",
    steps: Annotated[
        int | None,
        typer.Option(min=0, help="training steps; 0 only judges anew what --begin-with names"),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=8, help="frames or windows per step")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-6, max=1.0, help="highest learning rate")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="weights of AENet.reference, to learn from as well")
    ] = None,
    begin_with: Annotated[
        Path | None,
        typer.Option(help="weights of AENet.compact to start from, such as the shipped ones"),
    ] = None,
    blend_with: Annotated[
        Path | None,
        typer.Option(help="weights to average the result with, such as those it started from"),
    ] = None,
    keep: Annotated[Path, typer.Option(help="folder for the state to resume from")] = Path(
        "runs/aenet"
    ),
    keep_every: Annotated[
        int | None, typer.Option(min=1, help="steps between two saved states")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="resume from that folder")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    micrographs: Annotated[
        Path, typer.Option(help="folder of real micrographs, used where it exists")
    ] = DEFAULT_MICROGRAPHS,
    workers: Annotated[int, typer.Option(min=0, help="processes that draw frames")] = 1,
    judged_scenes: Annotated[
        int, typer.Option(min=1, help="scenes of each specimen to judge the network by")
    ] = 12,
) -> None:
    """Train AENet.compact on drawn specimens and micrographs (about 80 minutes on two cores)."""
    from afdaemon.models.checkpoint import WEIGHTS_FOLDER
    from afdaemon.models.training.parallel import joined

    if resume and begin_with:
        raise UsageError(
            "--resume continues a run, --begin-with starts a new one", remedy="give one of them"
        )
    if steps == 0 and begin_with is None:
        raise UsageError("--steps 0 trains nothing", remedy="name weights with --begin-with")
    chosen = _chosen(
        preset,
        seed=seed,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        keep_every=keep_every,
    )
    used, kept = split_micrographs(micrographs)
    plan = _Plan(
        preset=chosen,
        recipe=_recipe(chosen),
        used=used,
        kept=kept,
        keep=keep,
        resume=resume,
        teacher=teacher,
        begin_with=begin_with,
        blend_with=blend_with,
        workers=workers,
        judged_scenes=judged_scenes,
    )
    usual = WEIGHTS_FOLDER / "aenet_compact.safetensors"
    path = file_to_write(out, usual)
    with joined(prepared_device(workers)) as team:
        say(team, f"micrographs: {len(used)} to train on, {len(kept)} held back")
        clock = SystemClock()
        began_s = clock.now_s()
        run = _trained(plan, team)
        seconds = clock.now_s() - began_s
        if team.first:
            _write(plan, team, run, path, seconds)
            typer.echo(told_where(path, usual, seconds))


def _chosen(name: str, **changes: Any) -> "Preset":
    """A preset of AENet.compact, with the changes given on the command line."""
    from afdaemon.models.training.presets import preset_called

    if name not in _PRESETS:
        raise UsageError(
            f"AENet.compact has no preset {name!r}", remedy=f"choose one of {', '.join(_PRESETS)}"
        )
    preset = preset_called(name)
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(preset, settings=replace(preset.settings, **given))


def _recipe(preset: "Preset") -> "Recipe":
    """Frames as wide as the preset's windows."""
    from afdaemon.sim.datasets.frames import Recipe

    windows = preset.augmentation
    return Recipe(window_px=windows.width_px if windows.quarter_turns else None)


def _trained(plan: _Plan, team: "Team") -> "Run[AENetCompact]":
    """The run at its end; its averaged network is the best one, on the CPU."""
    import torch

    from afdaemon.models.aenet import train as train_aenet
    from afdaemon.models.training import run_state, trainer
    from afdaemon.models.training.batches import batches, stream_seed
    from afdaemon.sim.datasets.dataset1 import Part

    settings, recipe = plan.preset.settings, plan.recipe
    teacher = _teacher(plan, team)
    torch.manual_seed(settings.seed)
    run = trainer.begin(_network(plan), settings, team.device)
    if plan.resume:
        run_state.resume(run, settings, plan.keep)
        say(team, f"going on from step {run.step}")
    frames = batches(
        _frames(recipe, plan.used),
        seed=stream_seed(settings.seed, step=run.step, rank=team.rank),
        sets_per_batch=max(1, settings.batch // _frames_of_a_set(recipe)),
        workers=plan.workers,
        paired=True,
    )
    judges = list(dataset1_scenes(Part.VALIDATE, plan.judged_scenes, team=team))
    loss = train_aenet.loss_on(team.device, bf16=settings.bf16, teacher=teacher)
    with steps_bar("AENet", team) as update:
        trainer.train(
            run,
            settings,
            loss,
            frames,
            team=team,
            on_progress=update,
            validate=train_aenet.validator(judges, team.device, bf16=settings.bf16),
            keep=keeper(team, plan.preset, plan.keep),
        )
    return run


def _network(plan: _Plan) -> "AENetCompact":
    """The network to train: randomly initialised, or from a file."""
    from afdaemon.models.aenet.network import AENetCompact
    from afdaemon.models.aenet.out_of_distribution import load_aenet

    if plan.begin_with is not None:
        return load_aenet(plan.begin_with)[0]
    return AENetCompact()


def _frames_of_a_set(recipe: "Recipe") -> int:
    return recipe.frames_at_once * (1 if recipe.window_px is None else 2)


def _teacher(plan: _Plan, team: "Team") -> "nn.Module | None":
    """The published network, if it is to teach; it needs whole frames."""
    from afdaemon.models.scorers import zoo
    from afdaemon.models.scorers.networks import aenet_reference

    if plan.teacher is None:
        return None
    height, width = aenet_reference.SMALLEST_PX
    if plan.recipe.window_px is not None:
        raise UsageError(
            f"AENet.reference judges frames of {width} x {height} pixels,"
            f" not windows of {plan.recipe.window_px}",
            remedy="add --preset gpu, which trains on whole frames",
        )
    teacher = zoo.load(aenet_reference.NAME, plan.teacher).module
    return teacher.eval().requires_grad_(False).to(team.device)


def _write(plan: _Plan, team: "Team", run: "Run[AENetCompact]", path: Path, seconds: float) -> None:
    """Judge the finished network by scenes that had no part in any choice, and write weights, card and curves."""
    from afdaemon.models.aenet import train as train_aenet
    from afdaemon.models.aenet.out_of_distribution import fit_network, load_aenet
    from afdaemon.models.training.batches import batches
    from afdaemon.models.training.history import write_history

    settings = plan.preset.settings
    if plan.blend_with is not None:
        train_aenet.blend(run.averaged, load_aenet(plan.blend_with)[0], _BLEND_SHARE)
    unseen = batches(
        _frames(plan.recipe, plan.kept), seed=settings.seed + 777, sets_per_batch=1, workers=0
    )
    metrics = train_aenet.evaluate(run.averaged, unseen, _JUDGED_SETS * plan.judged_scenes)
    typer.echo(f"unseen scenes: {metrics}")
    whole = replace(plan.recipe, window_px=None)
    seen = batches(_frames(whole, plan.used), seed=settings.seed + 555, sets_per_batch=4, workers=0)
    familiarity = fit_network(run.averaged, seen, _FAMILIAR_BATCHES * plan.judged_scenes)
    data = {
        "source": "simulated frames, afdaemon.sim.datasets.frames",
        "recipe": asdict(plan.recipe),
        "micrographs": names_of(plan.used),
        "held_back": names_of(plan.kept),
        "judged_by": f"validation part of Dataset 1, {plan.judged_scenes} scenes of each specimen",
        "teacher": _digest(plan.teacher),
        "began_with": _earlier(plan.begin_with),
        "blended_with": _earlier(plan.blend_with),
    }
    notes = notes_of(plan.preset, run, team, plan.workers)
    train_aenet.save(
        run.averaged,
        path,
        settings=settings,
        data=data,
        metrics=metrics,
        seconds=seconds,
        notes=notes,
        familiarity=familiarity,
    )
    if run.history:
        write_history(run.history, path)


def _frames(recipe: "Recipe", micrographs: list[Path]) -> "FrameSource":
    from afdaemon.sim.datasets.frames import stream

    return lambda seed: stream(recipe, micrographs, seed=seed)


def _earlier(weights: Path | None) -> dict[str, Any] | None:
    """What the card of the starting weights says about their own training."""
    from afdaemon.models.checkpoint import read_card

    if weights is None:
        return None
    card = read_card(weights)
    return {"sha256": card.sha256, "training": card.training}


def _digest(teacher: Path | None) -> str | None:
    """SHA-256 of the teacher's weights."""
    from afdaemon.models.checkpoint import read_card

    return None if teacher is None else read_card(teacher).sha256
