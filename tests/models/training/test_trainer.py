"""The loop learns, judges itself, keeps its best, and goes on from a kept state as if it had never stopped."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from afdaemon.models.errors import TrainingError
from afdaemon.models.training.history import write_history
from afdaemon.models.training.run_state import RUN_NAME, STATE_NAME, resume, write_state
from afdaemon.models.training.trainer import (
    Run,
    Settings,
    Standing,
    Validation,
    begin,
    judged,
    rate_at,
    train,
)

CPU = torch.device("cpu")
SETTINGS = Settings(steps=12, learning_rate=0.05, warmup_steps=2, keep_every=5, validate_every=4)

Pair = tuple[Tensor, Tensor]


def pairs(first: int = 0) -> Iterator[Pair]:
    """A line to learn; batch n is the same whenever it is drawn."""
    step = first
    while True:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        yield x, x.sum(1, keepdim=True) + 1.0
        step += 1


def loss_of(model: nn.Module, batch: Pair) -> Tensor:
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def begun(settings: Settings = SETTINGS) -> Run[nn.Linear]:
    torch.manual_seed(3)
    return begin(nn.Linear(3, 1), settings, CPU)


def scripted(losses: list[float]) -> Callable[[nn.Module], Validation]:
    """A validation that finds these losses, one after the other."""
    left = iter(losses)
    return lambda _: Validation(next(left), 0.5)


def test_it_learns() -> None:
    losses: list[float] = []
    settings = replace(SETTINGS, steps=60)
    train(begun(settings), settings, loss_of, pairs(), on_progress=lambda p: losses.append(p.loss))
    assert losses[-1] < 0.5 * losses[0]


@given(step=st.integers(0, 999))
def test_a_cosine_rises_then_falls(step: int) -> None:
    settings = Settings(steps=1000, learning_rate=0.1, warmup_steps=100)
    rate, later = rate_at(step, settings), rate_at(step + 1, settings)
    assert 0.0 < rate <= 0.1
    assert (later > rate) if step < 99 else (later <= rate)


@given(step=st.integers(0, 999), cuts=st.integers(0, 5))
def test_a_plateau_holds_the_rate_until_it_is_cut(step: int, cuts: int) -> None:
    settings = Settings(steps=1000, learning_rate=0.1, warmup_steps=0, schedule="plateau")
    assert rate_at(step, settings, cuts) == pytest.approx(0.1 * 0.1**cuts)


def test_the_rate_is_cut_after_so_many_validations_without_a_better_one() -> None:
    settings = Settings(steps=1, schedule="plateau", patience=3)
    cuts, standing = [], Standing()
    for loss in (5.0, 4.0, 4.0, 4.1, 4.2, 4.3, 3.0, 3.1, 3.1, 3.1):
        standing = judged(standing, loss, settings)
        cuts.append(standing.cuts)
    assert cuts == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]
    assert standing.best_loss == 3.0


def test_a_cosine_is_never_cut() -> None:
    settings = Settings(steps=1, patience=1)
    standing = judged(judged(Standing(), 1.0, settings), 2.0, settings)
    assert standing == Standing(best_loss=1.0, waited=1, cuts=0)


def test_the_network_of_the_smallest_validation_loss_is_returned() -> None:
    run = begun()
    seen: list[Tensor] = []

    def validate(model: nn.Linear) -> Validation:
        seen.append(model.weight.clone())
        return Validation([3.0, 1.0, 2.0][len(seen) - 1], 0.5)

    model = train(run, SETTINGS, loss_of, pairs(), on_progress=lambda _: None, validate=validate)
    assert torch.equal(model.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert [(r.step, r.validation_loss) for r in run.history] == [(4, 3.0), (8, 1.0), (12, 2.0)]


def test_without_validation_the_last_is_returned_and_the_history_has_the_training_loss() -> None:
    run = begun()
    model = train(run, SETTINGS, loss_of, pairs(), on_progress=lambda _: None)
    assert torch.equal(model.weight, run.averaged.weight)
    assert [(r.step, r.validation_loss) for r in run.history] == [(4, None), (8, None), (12, None)]
    assert all(record.loss > 0.0 for record in run.history)


def test_a_decay_of_0_returns_the_network_itself() -> None:
    settings = replace(SETTINGS, ema_decay=0.0)
    run = begun(settings)
    model = train(run, settings, loss_of, pairs(), on_progress=lambda _: None)
    assert torch.equal(model.weight, run.model.weight)


def test_adam_lets_offsets_decay_and_adamw_does_not() -> None:
    def offset(settings: Settings) -> float:
        run = begun(settings)
        nn.init.ones_(run.model.bias)
        still = (torch.zeros(4, 3), torch.ones(4, 1))
        train(run, settings, loss_of, iter([still] * 3), on_progress=lambda _: None)
        return run.model.bias.item()

    settings = replace(SETTINGS, steps=3, weight_decay=0.1)
    assert offset(settings) == 1.0
    assert offset(replace(settings, optimiser="adam")) < 1.0


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    with pytest.raises(TrainingError, match="step 1 is nan") as caught:
        train(
            begun(),
            SETTINGS,
            lambda m, b: loss_of(m, b) * float("nan"),
            pairs(),
            on_progress=lambda _: None,
        )
    assert "--learning-rate" in caught.value.remedy


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    losses = [3.0, 1.0, 2.0]
    whole = begun()
    train(whole, SETTINGS, loss_of, pairs(), on_progress=lambda _: None, validate=scripted(losses))
    begin_of_it = begun()
    train(
        begin_of_it,
        SETTINGS,
        loss_of,
        pairs(),
        on_progress=lambda _: None,
        validate=scripted(losses),
        keep=lambda run: write_state(run, SETTINGS, tmp_path),
    )
    again = begun()
    resume(again, SETTINGS, tmp_path)
    assert again.step == 10
    train(again, SETTINGS, loss_of, pairs(10), on_progress=lambda _: None, validate=scripted([2.0]))
    assert torch.equal(again.model.weight, whole.model.weight)
    assert torch.equal(again.averaged.weight, whole.averaged.weight)
    assert again.history == whole.history
    assert again.standing == whole.standing


def kept(folder: Path) -> Run[nn.Linear]:
    run = begun()
    settings = replace(SETTINGS, steps=5)
    train(run, settings, loss_of, pairs(), on_progress=lambda _: None)
    write_state(run, SETTINGS, folder)
    return run


def test_a_state_of_before_there_were_validations_is_gone_on_from(tmp_path: Path) -> None:
    run = kept(tmp_path)
    path = tmp_path / STATE_NAME
    with safe_open(path, "pt") as state:
        note = json.loads(state.metadata()[RUN_NAME])
    old = {"steps", "learning_rate", "warmup_steps", "weight_decay", "ema_decay", "seed"}
    settings = {key: note["settings"][key] for key in old}
    tensors = {k: v for k, v in load_file(path).items() if not k.startswith("best.")}
    note = {"step": note["step"], "loss": note["loss"], "settings": settings}
    save_file(tensors, path, {RUN_NAME: json.dumps(note)})
    again = begun()
    resume(again, SETTINGS, tmp_path)
    assert again.step == 5
    assert torch.equal(again.model.weight, run.model.weight)
    assert (again.standing, again.history, again.best) == (Standing(), [], {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 0.01}, "learning_rate = 0.05, not 0.01"),
        ({"batch": 8}, "batch = 32, not 8"),
        ({"optimiser": "adam"}, "optimiser = 'adamw', not 'adam'"),
    ],
)
def test_other_settings_are_refused(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    kept(tmp_path)
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]  # values of several types
    with pytest.raises(TrainingError, match=words):
        resume(begun(settings), settings, tmp_path)


def test_how_often_it_is_judged_and_kept_may_change(tmp_path: Path) -> None:
    kept(tmp_path)
    settings = replace(SETTINGS, keep_every=1, validate_every=1)
    resume(begun(settings), settings, tmp_path)


def test_no_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="has no training to resume") as caught:
        resume(begun(), SETTINGS, tmp_path)
    assert "without --resume" in caught.value.remedy


def test_another_networks_state_is_refused(tmp_path: Path) -> None:
    kept(tmp_path)
    other = begin(nn.Linear(4, 1), SETTINGS, CPU)
    with pytest.raises(TrainingError, match="of another network"):
        resume(other, SETTINGS, tmp_path)


def test_the_history_is_drawn_and_written_beside_the_weights(tmp_path: Path) -> None:
    run = begun()
    validate = scripted([3.0, 1.0, 2.0])
    train(run, SETTINGS, loss_of, pairs(), on_progress=lambda _: None, validate=validate)
    table, picture = write_history(run.history, tmp_path / "some.safetensors")
    assert [row["step"] for row in json.loads(table.read_text())] == [4, 8, 12]
    assert json.loads(table.read_text())[1]["validation_loss"] == 1.0
    assert picture.read_bytes().startswith(b"\x89PNG")
