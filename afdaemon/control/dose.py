"""Dose: electrons per area that hit the specimen. Pure."""

from dataclasses import dataclass

_ELECTRONS_PER_PA_NS = 1e-12 * 1e-9 / 1.602176634e-19
"""Electrons that 1 pA delivers in 1 ns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """What a dose is computed from: beam current (pA) and dwell time per pixel (ns).

    ASSUMED: the instrument reports neither.
    """

    current_pa: float
    dwell_ns: float

    def dose_e_nm2(self, pixel_nm: float) -> float:
        """Dose of one frame, electrons per square nanometre, at that pixel size."""
        return self.current_pa * self.dwell_ns * _ELECTRONS_PER_PA_NS / pixel_nm**2
