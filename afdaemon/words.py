"""Numbers as people read them. Pure, and light: the client uses it too."""

import math


def probability(p: float) -> str:
    """`p = 0.93`; what would round to a certainty is `p > 0.99`."""
    return "p > 0.99" if p >= 0.995 else f"p = {p:.2f}"


def rate(um_per_min: float, error_um_per_min: float) -> str:
    """`+12 +- 3 um/min`, `-23 +- 6 mm/min`: a speed with its standard deviation, rounded to match the latter."""
    unit, scale = ("mm/min", 1e-3) if abs(um_per_min) >= 1000.0 else ("um/min", 1.0)
    speed, error = um_per_min * scale, error_um_per_min * scale
    digits = max(0, -math.floor(math.log10(error))) if error > 0.0 else 3
    return f"{speed:+.{digits}f} +- {error:.{digits}f} {unit}"


def ending(reason: str, detail: str) -> str:
    """How a job ended: `focused (within 1 depth of focus, p > 0.99)`, `aborted (Ctrl-C)`, `device: no answer`."""
    if reason in ("focused", "aborted"):
        return f"{reason} ({detail})" if detail else reason
    return ": ".join(part for part in (reason, detail) if part)
