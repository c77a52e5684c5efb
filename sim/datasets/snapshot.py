"""Single frames of the simulated instrument with their ground truth, as it would record them in its present state."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.told import Truth
from afdaemon.sim.instrument.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A frame, uint8 (height, width), of pixels `pixel_nm` wide, and the ground truth at its exposure."""

    pixels: NDArray[np.uint8]
    pixel_nm: float
    truth: Truth

    @property
    def defocus_um(self) -> float:
        """How far the WD was from the best one for this field."""
        return self.truth.wd_um - self.truth.focus_wd_um

    @property
    def defocus_dof(self) -> float:
        """The same in depths of focus."""
        return self.defocus_um / self.truth.dof_um

    def as_json(self) -> dict[str, object]:
        """The frame's description: what was imaged, how, and how far out of focus."""
        truth = self.truth
        return {
            "specimen": truth.specimen,
            "seed": truth.seed,
            "magnification": truth.magnification,
            "width_px": self.pixels.shape[1],
            "height_px": self.pixels.shape[0],
            "pixel_nm": self.pixel_nm,
            "wd_um": truth.wd_um,
            "focus_wd_um": truth.focus_wd_um,
            "defocus_um": self.defocus_um,
            "defocus_dof": self.defocus_dof,
            "dof_um": truth.dof_um,
            "score": truth.score,
        }


class _Waiting:
    """A clock on which every wait is over at once."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        self._now_s += max(0.0, seconds)
        await asyncio.sleep(0)


def take(settings: InstrumentSettings, defocus_dof: Sequence[float]) -> list[Snapshot]:
    """One place of one instrument, a frame at each defocus (in depths of focus of the field).

    Raises:
        SimError: invalid settings or specimen, or a defocus that the lens does not reach.
    """
    return asyncio.run(_take(settings, defocus_dof))


async def _take(settings: InstrumentSettings, defocus_dof: Sequence[float]) -> list[Snapshot]:
    world = World(settings, clock=_Waiting())
    await world.expose()  # only then does it know how high the field stands
    snapshots = []
    for offset in defocus_dof:
        truth = world.truth()
        world.command(truth.focus_wd_um + offset * truth.dof_um, settings.magnification)
        await world.settle()
        shot = await world.expose()
        snapshots.append(Snapshot(pixels=shot.pixels, pixel_nm=shot.pixel_nm, truth=world.truth()))
    return snapshots
