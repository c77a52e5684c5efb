"""Pictures in, rows out: AENet.compact, which also says how sure it is, or another scorer by its name."""

from collections.abc import Callable
from typing import Any

from afdaemon.cli.score.files import Picture
from afdaemon.cli.score.rows import Row, name_of
from afdaemon.errors import UsageError
from afdaemon.models.errors import ImageError
from afdaemon.models.frames.preprocess import reduce, reduction_factor, to_unit
from afdaemon.models.frames.shot import Shot
from afdaemon.models.frames.streaks import is_streaked
from afdaemon.models.scorers import classical
from afdaemon.models.scorers.base import FrameScorer
from afdaemon.models.scorers.focus_scorer import FocusScorer, Score, load_scorer
from afdaemon.models.scorers.zoo import COMPACT, open_scorer

_Measures = dict[str, Any]


class Judge:
    """One scorer; `describe` tells which."""

    def __init__(self, measure: Callable[[Picture], _Measures], described: dict[str, Any]) -> None:
        self._measure = measure
        self._described = described

    def row(self, picture: Picture) -> Row:
        """Judge a picture. Raises `UsageError`, naming it, if it cannot be judged."""
        try:
            measures = self._measure(picture)
        except ImageError as error:
            name = name_of(str(picture.path), picture.page)
            raise UsageError(f"{name} cannot be scored: {error}", remedy=error.remedy) from error
        height, width = picture.pixels.shape
        return Row(
            file=str(picture.path),
            page=picture.page,
            width=width * picture.reduction,
            height=height * picture.reduction,
            magnification=picture.magnification,
            magnification_from=picture.magnification_from,
            **measures,
        )

    def describe(self) -> dict[str, Any]:
        """What judges: its name, and for networks their weights and device."""
        return self._described


def open_judge(name: str) -> Judge:
    """The scorer of this name.

    Raises:
        ModelError: no scorer of this name, or it is not trained.
    """
    if name == COMPACT:
        return compact_judge(load_scorer())
    return frame_judge(open_scorer(name))


def compact_judge(scorer: FocusScorer) -> Judge:
    """AENet.compact as it serves autofocus."""

    def measure(picture: Picture) -> _Measures:
        return _of_score(scorer.score(picture.pixels, picture.magnification), picture.reduction)

    return Judge(measure, scorer.describe())


def frame_judge(scorer: FrameScorer) -> Judge:
    """Any scorer of single frames. Control parameters that files don't tell have their usual values."""

    def measure(picture: Picture) -> _Measures:
        shot = Shot(pixels=picture.pixels, magnification=picture.magnification)
        if picture.wd_um is not None:
            shot = Shot(pixels=shot.pixels, magnification=shot.magnification, wd_um=picture.wd_um)
        whole = to_unit(picture.pixels)
        factor = reduction_factor(picture.pixels.shape[1])
        score = float(scorer.scores([shot])[0])
        image = reduce(whole, factor)
        return {
            "score": score,
            "expected_error": None,
            "confidence": None,
            "doubt": "",
            "reduction": factor * picture.reduction,
            "variance": classical.variance(image),
            "entropy": classical.entropy(image),
            "saturated": classical.saturated_share(whole),
            "streaked": is_streaked(image),
        }

    return Judge(measure, {"network": scorer.name})


def _of_score(judged: Score, reduction: int) -> _Measures:
    return {
        "score": judged.score,
        "expected_error": judged.expected_error,
        "confidence": judged.confidence,
        "doubt": judged.doubt,
        "reduction": judged.reduction * reduction,
        "variance": judged.variance,
        "entropy": judged.entropy,
        "saturated": judged.saturated,
        "streaked": judged.streaked,
    }
