"""The servo of the published procedure: a step law, and where its step leads. Pure.

A step law is any function from the readings in memory, newest first, to a proposed step in um. The
published one is ACNet's, which is handed in as a function.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from afdaemon.control.limits import Limits
from afdaemon.control.values import Reading

StepLaw = Callable[[Sequence[Reading]], float]
"""Readings (1 .. 20, newest first) -> step in um; called between two readings, so it must be quick.

A law that returns NaN or an infinity ends the job as not converged: there is no safe guess at what
it meant, and a zero step in its place would pass for patience.
"""


class Propose(Protocol):
    """A policy over histories, newest first; see `afdaemon.models.acnet.policy.StepPolicy.propose`.

    Its terms are the paper's: what the rest of this program calls contrast is called variance here.
    """

    def __call__(
        self,
        *,
        wd_um: Sequence[float],
        score: Sequence[float],
        variance: Sequence[float],
        entropy: Sequence[float],
        magnification: float,
    ) -> float:
        """Step in um."""
        ...


def acnet_law(propose: Propose) -> StepLaw:
    """The published law: what ACNet proposes from the readings in memory."""

    def law(newest_first: Sequence[Reading]) -> float:
        return propose(
            wd_um=[reading.wd_um for reading in newest_first],
            score=[reading.frame.score for reading in newest_first],
            variance=[reading.frame.contrast for reading in newest_first],
            entropy=[reading.frame.entropy for reading in newest_first],
            magnification=newest_first[0].magnification,
        )

    return law


def target_um(wd_um: float, step_um: float, most_um: float, limits: Limits) -> float:
    """Where a proposed step leads: clipped to +-`most_um`, and shortened to end inside the limits.

    Shortening is planning, not guarding: the guard still rejects whatever it is given.
    """
    return limits.nearest(wd_um + min(max(step_um, -most_um), most_um))
