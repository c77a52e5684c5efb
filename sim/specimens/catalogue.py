"""The specimens by name."""

from collections.abc import Callable
from pathlib import Path

from afdaemon.sim.errors import SpecimenError
from afdaemon.sim.specimens.butterfly_wing import ButterflyWing
from afdaemon.sim.specimens.gold_nanoparticles import GoldNanoparticles
from afdaemon.sim.specimens.micrograph import load_micrograph
from afdaemon.sim.specimens.mixture import Mixture
from afdaemon.sim.specimens.tem_grid import TemGrid
from afdaemon.sim.specimens.tin_balls import TinBalls
from afdaemon.sim.specimens.woven_fabric import WovenFabric
from afdaemon.sim.surface import Specimen

Drawn = Callable[[int], Specimen]
"""Makes a specimen of its seed."""

TRAINING_SPECIMENS: dict[str, Drawn] = {
    "tin_balls": TinBalls,
    "tem_grid": TemGrid,
    "gold_nanoparticles": GoldNanoparticles,
    "mixture": Mixture,
}
_UNSEEN_SPECIMENS: dict[str, Drawn] = {
    "butterfly_wing": ButterflyWing,
    "woven_fabric": WovenFabric,
}
_BY_NAME = TRAINING_SPECIMENS | _UNSEEN_SPECIMENS

TRAINED = tuple(TRAINING_SPECIMENS)
"""Names of those that networks learn from."""

UNSEEN = tuple(_UNSEEN_SPECIMENS)
"""Names of those that no network may ever learn from."""

SPECIMENS = tuple(_BY_NAME)
"""Names of all drawn specimens; `image:PATH` makes one of a micrograph."""


def open_specimen(name: str, *, seed: int) -> Specimen:
    """The specimen of that name: one of `SPECIMENS`, or `image:PATH` for a TIFF, PNG or JPEG micrograph.

    Raises:
        SpecimenError: no such specimen, or an image that cannot serve as one.
    """
    if name.startswith("image:"):
        return load_micrograph(Path(name.removeprefix("image:")))
    if name not in _BY_NAME:
        raise SpecimenError(
            f"no specimen is called {name!r}",
            remedy=f"use one of {', '.join(SPECIMENS)}, or image:PATH",
        )
    return _BY_NAME[name](seed)
