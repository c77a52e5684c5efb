"""What both procedures need to know about frames and the instrument: each number once, with its range and meaning."""

from dataclasses import dataclass
from typing import ClassVar, Self

from afdaemon.errors import ConfigError, UsageError
from afdaemon.models.optics import TOP_SCORE, dof_um
from afdaemon.spec import check, flag, number


def score(default: float, what: str, **more: str) -> float:
    """A field for a score, or a difference of scores."""
    declared: float = number(default, 0.0, TOP_SCORE, "", what, **more)
    return declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The parameters of a procedure. Raises ConfigError for one outside its range."""

    name: ClassVar[str] = ""

    fail_score: float = score(3.0, "A score below this does not count as focus.")
    flat_contrast: float = number(
        0.02, 0.0, 10.0, "", "A frame whose contrast (standard deviation / mean) is below this shows nothing.",
        formerly="flat_variance",
    )  # fmt: skip
    saturated_fraction: float = number(
        0.5, 0.0, 1.0, "", "A frame with black and white pixels above this share shows nothing."
    )
    alpha_mrad: float = number(
        5.0, 0.1, 100.0, "mrad",
        "Convergence semi-angle of the beam, from which the depth of focus follows. ASSUMED, unless calibrated.",
    )  # fmt: skip
    calibrated: bool = flag(
        False, "Whether the convergence angle was measured; if not, it may be off by a factor of 2."
    )

    def __post_init__(self) -> None:
        check(self, ConfigError)

    def with_ladder(self, wanted: bool | None) -> Self:
        """The same with or without a magnification ladder, if a job asks. Raises UsageError if there is none."""
        if wanted:
            raise UsageError(
                f"ladder = true goes with the fast procedure, not with {self.name}",
                remedy="ask for profile = fast, or leave ladder out",
            )
        return self

    def dof_um(self, magnification: float) -> float:
        """Depth of focus (um) at a magnification, for the assumed convergence angle."""
        return dof_um(magnification, 1e-3 * self.alpha_mrad)
