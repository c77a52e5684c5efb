"""A training's state on disk, to resume from: safetensors with a note in its header, written whole or not at all."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from afdaemon.models.errors import TrainingError
from afdaemon.models.training.trainer import Record, Run, Settings, Standing

N = TypeVar("N", bound=nn.Module)

STATE_NAME, RUN_NAME = "state.safetensors", "run.json"
_MAY_CHANGE = ("keep_every", "validate_every")
"""Settings that may change when a training is resumed: the weights do not depend on them."""


def write_state(run: Run[Any], settings: Settings, folder: Path) -> None:
    """Write the state of a run into `folder`, whole or not at all."""
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in run.averaged.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in run.best.items()}
    for number, state in cast("dict[int, Any]", run.optimiser.state_dict()["state"]).items():
        tensors |= {f"optimiser.{number}.{k}": v for k, v in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (STATE_NAME + ".part")
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, _note(run, settings)
    )
    part.replace(folder / STATE_NAME)


def _note(run: Run[Any], settings: Settings) -> dict[str, str]:
    note = {
        "step": run.step,
        "loss": run.loss,
        "settings": asdict(settings),
        "standing": asdict(run.standing),
        "history": [asdict(record) for record in run.history],
    }
    return {RUN_NAME: json.dumps(note)}


def resume(run: Run[N], settings: Settings, folder: Path) -> None:
    """Restore the state kept in `folder` into `run`.

    Raises:
        TrainingError: nothing is kept there, or it is of another network or other settings.
    """
    path = folder / STATE_NAME
    try:
        with safe_open(path, "pt") as kept:
            note = json.loads(kept.metadata()[RUN_NAME])
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path} has no training to resume ({error})", remedy="begin without --resume"
        ) from error
    _compare(note["settings"], settings, folder)
    _restore(run, tensors, path)
    run.step, run.loss = int(note["step"]), float(note["loss"])
    run.standing = Standing(**note.get("standing", {}))
    run.history = [Record(**record) for record in note.get("history", [])]


def _compare(kept: dict[str, Any], settings: Settings, folder: Path) -> None:
    """Raise unless the settings agree; any that the state lacks had their default when it was written."""
    for field in fields(Settings):
        value = getattr(settings, field.name)
        before = kept.get(field.name, field.default)
        if before != value and field.name not in _MAY_CHANGE:
            raise TrainingError(
                f"the training in {folder} has {field.name} = {before!r}, not {value!r}",
                remedy="resume with the settings it began with, or begin in another folder",
            )


def _restore(run: Run[Any], tensors: dict[str, Tensor], path: Path) -> None:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    try:
        run.model.load_state_dict(part("model."))
        run.averaged.load_state_dict(part("averaged."))
    except RuntimeError as error:
        raise TrainingError(
            f"{path} is of another network ({str(error).splitlines()[0]})",
            remedy="begin in another folder, --keep FOLDER",
        ) from error
    own = run.averaged.state_dict()
    run.best = {name: value.to(own[name].device) for name, value in part("best.").items()}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimiser.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    run.optimiser.load_state_dict(
        {"state": state, "param_groups": run.optimiser.state_dict()["param_groups"]}
    )
