"""What was measured on one frame: the value that scorer, control, journal and API pass on to each other. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Self

from afdaemon.models.frames.doubt import BLANK, COVERED, DOUBTFUL_CONFIDENCE, covered

_AND = " and "


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What was measured on a frame, apart from where it was taken.

    Attributes:
        score: AENet's score, 0 (out of focus) .. 9.
        contrast: standard deviation over mean of the grey values (what Lee et al. 2021 call variance).
        entropy: of the grey values, in bits over 256 bins of the standardised image.
        saturated: share of pixels at either end of the grey scale, 0 .. 1.
        expected_error: mean error of such a score, in units of the score.
        bands: natural logarithms of the power in 18 bands of spatial frequency (`afdaemon.models.frames.spectrum`).
        doubt: why the score may mean nothing (`afdaemon.models.frames.doubt`); "" if there is no reason to doubt it.
        streaked: charging left streaks, which were removed before the frame was judged.
        masked: share of the frame that is no specimen and was left out, 0 .. 1 (`afdaemon.models.frames.mask`).
        mask: what that was; "" if nothing was.
    """

    score: float
    contrast: float
    entropy: float
    saturated: float = 0.0
    expected_error: float = 1.0
    bands: tuple[float, ...] = ()
    doubt: str = ""
    streaked: bool = False
    masked: float = 0.0
    mask: str = ""

    @property
    def confidence(self) -> float:
        """Probability that the score is within 1 of the truth: 1 - exp(-1 / mean error), by Laplace's law.

        That of a doubted score is at most `DOUBTFUL_CONFIDENCE`.
        """
        confidence = -math.expm1(-1.0 / self.expected_error)
        return min(confidence, DOUBTFUL_CONFIDENCE) if self.doubt else confidence

    @property
    def is_blank(self) -> bool:
        """Whether the frame is doubted because it shows nothing."""
        return self.doubt.startswith(BLANK)

    @property
    def is_covered(self) -> bool:
        """Whether the frame is doubted because too little of it is specimen."""
        return self.doubt.startswith(COVERED)

    @property
    def is_usable(self) -> bool:
        """Whether all its numbers are finite, and the expected error is above 0."""
        numbers = (self.score, self.contrast, self.entropy, self.saturated, *self.bands)
        return all(map(math.isfinite, numbers)) and 0.0 < self.expected_error < math.inf

    def also_masked(self, share: float, what: str) -> Self:
        """The same where another `share` of the frame, `what` it was, had been left out before."""
        known = self.mask.split(_AND) if self.mask else []
        named = known if what in known else [*known, what]
        masked = min(1.0, self.masked + share)
        doubt = self.doubt or covered(masked)
        return replace(self, masked=masked, mask=_AND.join(named), doubt=doubt)

    @property
    def remarks(self) -> list[str]:
        """What a person should know about the frame apart from its score."""
        masked = f"{self.mask} left out: {self.masked:.0%}" if self.mask else ""
        streaks = "streaks: charging" if self.streaked else ""
        return [said for said in (self.doubt, masked, streaks) if said]
