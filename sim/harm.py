"""What faults of an instrument and trouble on its link have in common: what they do, how much, and damage to bytes."""

from dataclasses import dataclass

import numpy as np

from afdaemon.spec import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much of it: what the number measures, its range, and its default (None: drawn, 0 to 1)."""

    of: str
    allowed: Range
    usual: float | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """What it does, and what its amount is; None if it has none."""

    does: str
    amount: Amount | None = None


def damaged(data: bytes, count: int, rng: np.random.Generator) -> bytes:
    """`data` with `count` of its bytes, at most all of them, changed."""
    changed = np.frombuffer(data, np.uint8).copy()
    where = rng.choice(changed.size, size=min(count, changed.size), replace=False)
    changed[where] ^= rng.integers(1, 256, where.size, dtype=np.uint8)
    return changed.tobytes()
