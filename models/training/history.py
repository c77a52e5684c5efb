"""A training's history beside its weights: numbers as JSON, curves as PNG."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from afdaemon.models.training.trainer import Record


def write_history(history: Sequence[Record], weights: Path) -> tuple[Path, Path]:
    """Write `NAME.history.json` and `NAME.curves.png` beside `weights`; returns their paths."""
    table, picture = weights.with_suffix(".history.json"), weights.with_suffix(".curves.png")
    weights.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(json.dumps([asdict(record) for record in history], indent=1) + "\n")
    figure = _drawn(history, weights.stem)
    FigureCanvasAgg(figure)
    figure.savefig(picture)
    return table, picture


def _drawn(history: Sequence[Record], title: str) -> Figure:
    """Losses, share of scores within 1, and learning rate over the steps, one above the other."""
    figure = Figure(figsize=(7.0, 7.5), layout="constrained")
    losses, shares, rates = figure.subplots(3, 1, sharex=True)
    judged = [record for record in history if record.validation_loss is not None]
    steps, judged_steps = [r.step for r in history], [r.step for r in judged]
    losses.plot(steps, [r.loss for r in history], marker=".", label="training (running mean)")
    if judged:
        losses.plot(
            judged_steps, [r.validation_loss for r in judged], marker=".", label="validation"
        )
        shares.plot(judged_steps, [r.accuracy for r in judged], marker=".")
    losses.set(ylabel="loss", yscale="log", title=title)
    losses.legend()
    shares.set(ylabel="validation: share within ±1", ylim=(0.0, 1.0))
    rates.plot(steps, [r.learning_rate for r in history], marker=".")
    rates.set(ylabel="learning rate", xlabel="step", yscale="log")
    for axes in (losses, shares, rates):
        axes.grid(alpha=0.3)
    return figure
