"""What is told of the error of a score where the magnification is not known."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from afdaemon.cli.score import scorers
from afdaemon.cli.score.files import ASSUMED, Picture
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.preprocess import Pixels

if TYPE_CHECKING:
    from afdaemon.models.scorers.focus_scorer import FocusScorer


@dataclass
class OfMagnification:
    """A score that depends on the magnification alone."""

    slope: float

    def score(self, pixels: Pixels, magnification: float) -> Measures:
        return self.score_many([pixels], [magnification])[0]

    def score_many(
        self, frames: Sequence[Pixels], magnifications: Sequence[float]
    ) -> list[Measures]:
        return [
            Measures(
                score=5.0 + self.slope * float(np.log10(magnification / 2_000.0)),
                contrast=0.1,
                entropy=5.0,
                expected_error=0.3,
            )
            for _, magnification in zip(frames, magnifications, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        return {}


def picture(source: str) -> Picture:
    return Picture(
        path=Path("a.png"),
        page=1,
        pixels=np.zeros((240, 320), np.uint8),
        magnification=2_000.0,
        magnification_from=source,
    )


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_what_else_it_might_be_is_in_the_error(slope: float) -> None:
    scorer = scorers._compact_scorer(cast("FocusScorer", OfMagnification(slope)))
    known, assumed = (scorer.row(picture(source)).measures for source in ("given", ASSUMED))
    assert known.expected_error == pytest.approx(0.3)
    assert assumed.score == known.score == pytest.approx(5.0)
    assert assumed.expected_error == pytest.approx(0.3 + slope)
