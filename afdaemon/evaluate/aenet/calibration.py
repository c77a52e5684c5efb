"""Does a score err by as much as it promises?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from afdaemon.evaluate.aenet.test_part import Truth, scores_of
from afdaemon.evaluate.judged import Judged
from afdaemon.evaluate.section import Section, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Frames of similar promised error: its mean, mean error, mean confidence and share within 1 of the truth."""

    frames: int
    promised_error: float
    error: float
    confidence: float
    within_1: float


def conclude(found: Sequence[Judged[Truth]]) -> Section:
    """Promised against real errors, in tenths of the frames by promised error."""
    bins = _bins(found)
    gap = sum(one.frames * abs(one.confidence - one.within_1) for one in bins) / len(found)
    lines = [f"{'frames':>8}{'promised error':>16}{'error':>8}{'confidence':>12}{'within 1':>10}"]
    lines += [
        f"{one.frames:>8}{one.promised_error:>16.3f}{one.error:>8.3f}{one.confidence:>12.3f}{one.within_1:>10.3f}"
        for one in bins
    ]
    lines.append(f"mean gap between confidence and share within 1: {gap:.3f}")
    return Section(
        key="calibration",
        title="Promised against real error on the test part",
        lines=lines,
        numbers={"bins": [asdict(one) for one in bins], "confidence_gap": gap},
        figures={"calibration": _plot(bins)},
    )


def _bins(found: Sequence[Judged[Truth]]) -> list[Bin]:
    said, true = scores_of(found)
    error = np.abs(said - true)
    promised = np.array([one.said.expected_error for one in found])
    confidence = np.array([one.said.confidence for one in found])
    parts = np.array_split(np.argsort(promised, kind="stable"), min(_BINS, len(found)))
    return [
        Bin(
            frames=len(part),
            promised_error=float(promised[part].mean()),
            error=float(error[part].mean()),
            confidence=float(confidence[part].mean()),
            within_1=float(np.mean(error[part] <= 1.0)),
        )
        for part in parts
    ]


def _plot(bins: Sequence[Bin]) -> "Figure":
    figure = new_figure(7.0, 3.4)
    left, right = figure.subplots(1, 2)
    promised = [one.promised_error for one in bins]
    largest = max([*promised, *(one.error for one in bins)])
    left.plot((0, largest), (0, largest), color="#b33", lw=0.8)
    left.plot(promised, [one.error for one in bins], "o-")
    left.set(xlabel="promised error", ylabel="mean error")
    right.plot((0, 1), (0, 1), color="#b33", lw=0.8)
    right.plot([one.confidence for one in bins], [one.within_1 for one in bins], "o-")
    right.set(xlabel="confidence", ylabel="share within 1 of the truth")
    return figure
