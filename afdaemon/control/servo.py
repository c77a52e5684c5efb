"""Servo: from the newest readings to the next working distance.

A step law is any function from the readings in memory, newest first, to a proposed step in um. The
published one is ACNet's, which is handed in as a function from the 80 numbers to -1 .. 1.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.limits import Limits
from afdaemon.control.values import Reading
from afdaemon.models.state import a_max_um, encode_state, fill_memory

StepLaw = Callable[[Sequence[Reading]], float]
"""Readings (1 .. 20, newest first) -> step in um; called between two readings, so it must be quick.

A law that returns NaN or an infinity ends the job as not converged: there is no safe guess at what
it meant, and a zero step in its place would pass for patience.
"""

Policy = Callable[[NDArray[np.float32]], float]
"""ACNet's state, float32 (80,) -> action, -1 .. 1."""


def acnet_law(policy: Policy) -> StepLaw:
    """The published law: the network's action times A_max(m)."""

    def law(newest_first: Sequence[Reading]) -> float:
        return float(policy(encode_readings(newest_first))) * a_max_um(
            newest_first[0].magnification
        )

    return law


def encode_readings(newest_first: Sequence[Reading]) -> NDArray[np.float32]:
    """ACNet's state, float32 (80,), from 1 .. 20 readings."""
    return encode_state(
        wd_um=fill_memory([reading.wd_um for reading in newest_first]),
        score=fill_memory([reading.score for reading in newest_first]),
        variance=fill_memory([reading.variance for reading in newest_first]),
        entropy=fill_memory([reading.entropy for reading in newest_first]),
        magnification=newest_first[0].magnification,
    )


def target_um(wd_um: float, step_um: float, magnification: float, limits: Limits) -> float:
    """Where a proposed step leads: clipped to +-A_max(m), and shortened to end inside the limits.

    Shortening is planning, not guarding: the guard still rejects whatever it is given.
    """
    most_um = a_max_um(magnification)
    return limits.nearest(wd_um + min(max(step_um, -most_um), most_um))
