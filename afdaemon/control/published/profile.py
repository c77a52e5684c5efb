"""The parameters of the published procedure (Lee et al. 2021), and those of its authors' code."""

from dataclasses import dataclass
from typing import ClassVar

from afdaemon.control.profile import Profile, score
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.optics import TOP_SCORE
from afdaemon.spec import flag, number, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedProfile(Profile):
    """Parameters of the published procedure; the defaults are the paper's where it gives one.

    A_max(m) is the paper's action limit, the longest step at a magnification (equation 5).
    """

    name: ClassVar[str] = "paper"

    # Search
    search_score: float = score(2.0, "A reading with a score above this ends the search.")
    stride_fraction: float = number(
        1.0 / 3.0, 0.01, 1.0, "", "Stride of the search, as a fraction of A_max(m)."
    )
    search_window_a_max: float = number(
        4.0, 0.0, 1000.0, "A_max",
        "How far the search goes to either side of the start; 0: the whole allowed range, as published.",
    )  # fmt: skip
    halvings: int = whole(
        2, 0, 6, "How often the stride is halved when the range has been searched without success."
    )
    both_directions: bool = flag(
        True, "Whether the search goes towards shorter WDs too, not only towards longer ones."
    )
    min_search_readings: int = whole(1, 1, 100, "A search does not end before this many readings.")
    max_search_readings: int = whole(
        200, 0, 100_000, "A search is given up after this many readings; 0: as many as the range holds."
    )  # fmt: skip
    searches: int = whole(
        3, 1, 100, "How often the search begins, or continues after a servo that found no focus."
    )

    # Servo
    stop_score: float = score(
        TOP_SCORE, "A score that cannot be bettered: it ends the servo at once."
    )
    patience: int = whole(
        5, 1, 100, "The servo ends after this many readings without a new best score."
    )
    new_best_margin: float = score(
        0.05, "A score counts as a new best one if it is higher by more than this; less is chance."
    )
    max_servo_readings: int = whole(20, 1, 1000, "The servo ends after this many readings.")
    min_step_um: float = number(
        0.01, 0.0, 1000.0, "um",
        "A shorter step is not sent; the next reading is taken where the instrument stands.",
    )  # fmt: skip
    most_step_dof: float = number(
        4.0, 1.0, 1_000.0, "depths of focus",
        "Longest step of the servo where the instrument is calibrated; elsewhere A_max(m) is the limit, as published.",
    )  # fmt: skip

    # Verdict
    retries: int = whole(
        1, 0, 10, "How often the servo starts again from the best WD after a failure."
    )
    verify_drop: float = score(
        3.0, "The score of the verifying reading may lie this far below the one that it verifies."
    )
    tie_margin: float = score(
        0.0, "The start WD is kept if its score comes this close to the best one."
    )

    def most_step_um(self, magnification: float) -> float:
        """The longest servo step (um): c * DoF(m) where the depth of focus was measured, else A_max(m)."""
        if self.calibrated:
            return self.most_step_dof * self.dof_um(magnification)
        return a_max_um(magnification)


PUBLISHED = PublishedProfile()
"""The published procedure."""

AUTHORS_ONLINE = PublishedProfile(
    search_score=1.8,
    min_search_readings=4,
    both_directions=False,
    patience=8,
    searches=1,
    new_best_margin=0.0,
)
"""Where the authors' own online code differs from their paper."""
