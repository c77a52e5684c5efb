"""Pictures in, rows out: AENet.compact, which also gives its confidence, or another scorer by its name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from afdaemon.cli.score.files import ASSUMED, Picture
from afdaemon.cli.score.rows import Row, name_of
from afdaemon.errors import UsageError
from afdaemon.models.errors import ImageError
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.preprocess import reduction_factor, to_unit
from afdaemon.models.frames.shot import Shot, judged_image
from afdaemon.models.frames.streaks import is_streaked
from afdaemon.models.scorers import classical
from afdaemon.models.scorers.base import FrameScorer
from afdaemon.models.scorers.focus_scorer import FocusScorer, load_scorer
from afdaemon.models.scorers.zoo import COMPACT, open_scorer


@dataclass(frozen=True, slots=True)
class RowScorer:
    """One scorer: how it measures a picture, whether it knows its own error, and what it is."""

    measure: Callable[[Picture], Measures]
    knows_its_error: bool
    described: dict[str, Any]

    def row(self, picture: Picture) -> Row:
        """Score a picture. Raises `UsageError`, naming it, if it cannot be scored."""
        try:
            measures = self.measure(picture)
        except ImageError as error:
            name = name_of(str(picture.path), picture.page)
            raise UsageError(f"{name} cannot be scored: {error}", remedy=error.remedy) from error
        height, width = picture.pixels.shape
        return Row(
            file=str(picture.path),
            page=picture.page,
            measures=measures,
            knows_its_error=self.knows_its_error,
            width=round(width * picture.reduction),
            height=round(height * picture.reduction),
            reduction=reduction_factor(width) * picture.reduction,
            magnification=picture.magnification,
            magnification_from=picture.magnification_from,
        )


_MAYBE = (200.0, 20_000.0)
"""What a picture of unknown magnification may have been taken at: nearly all are between these."""


def row_scorer(name: str) -> RowScorer:
    """The scorer of this name.

    Raises:
        ModelError: there is no scorer of this name, or it is not trained.
    """
    if name == COMPACT:
        return _compact_scorer(load_scorer())
    return frame_scorer(open_scorer(name))


def _compact_scorer(scorer: FocusScorer) -> RowScorer:
    """AENet.compact as it serves autofocus."""

    def measure(picture: Picture) -> Measures:
        measures = scorer.score(picture.pixels, picture.magnification)
        if picture.magnification_from != ASSUMED:
            return measures
        others = scorer.score_many([picture.pixels] * len(_MAYBE), _MAYBE)
        scores = [one.score for one in (measures, *others)]
        spread = (max(scores) - min(scores)) / 2.0
        return replace(measures, expected_error=measures.expected_error + spread)

    return RowScorer(
        measure,
        knows_its_error=True,
        described=scorer.describe(),
    )


def frame_scorer(scorer: FrameScorer) -> RowScorer:
    """Any scorer of single frames. Control parameters that the files don't give have their usual values."""

    def measure(picture: Picture) -> Measures:
        shot = Shot(pixels=picture.pixels, magnification=picture.magnification)
        if picture.wd_um is not None:
            shot = Shot(pixels=shot.pixels, magnification=shot.magnification, wd_um=picture.wd_um)
        score = float(scorer.scores([shot])[0])
        image = judged_image(shot)
        return Measures(
            score=score,
            contrast=classical.contrast(image),
            entropy=classical.entropy(image),
            saturated=classical.saturated_share(to_unit(picture.pixels)),
            streaked=is_streaked(image),
        )

    return RowScorer(measure, knows_its_error=False, described={"network": scorer.name})
