"""The specimens by name."""

from collections.abc import Callable
from pathlib import Path

from afdaemon.sim.errors import SpecimenError
from afdaemon.sim.specimens.butterfly_wing import ButterflyWing
from afdaemon.sim.specimens.empty import Empty
from afdaemon.sim.specimens.families import (
    Facets,
    Foam,
    Grating,
    Labyrinth,
    Lattice,
    Layers,
    Section,
    Sparse,
)
from afdaemon.sim.specimens.gold_nanoparticles import GoldNanoparticles
from afdaemon.sim.specimens.micrograph import load_micrograph
from afdaemon.sim.specimens.mixture import Mixture
from afdaemon.sim.specimens.ruled import Ruled
from afdaemon.sim.specimens.soiled import Soiled
from afdaemon.sim.specimens.tem_grid import TemGrid
from afdaemon.sim.specimens.tin_balls import TinBalls
from afdaemon.sim.specimens.woven_fabric import WovenFabric
from afdaemon.sim.surface import Specimen

Drawn = Callable[[int], Specimen]
"""Makes a specimen from a seed."""

TRAINING_SPECIMENS: dict[str, Drawn] = {
    "tin_balls": TinBalls,
    "tem_grid": TemGrid,
    "gold_nanoparticles": GoldNanoparticles,
    "mixture": Mixture,
    "ruled": Ruled,
}
_UNSEEN_SPECIMENS: dict[str, Drawn] = {
    "butterfly_wing": ButterflyWing,
    "woven_fabric": WovenFabric,
}
_STRANGE_SPECIMENS: dict[str, Drawn] = {
    "lattice": Lattice,
    "labyrinth": Labyrinth,
    "foam": Foam,
    "sparse": Sparse,
    "layers": Layers,
    "facets": Facets,
    "section": Section,
    "grating": Grating,
}
NOTHING = "empty"
"""A field with nothing to focus."""
_BY_NAME = TRAINING_SPECIMENS | _UNSEEN_SPECIMENS | _STRANGE_SPECIMENS | {NOTHING: Empty}

TRAINED = tuple(TRAINING_SPECIMENS)
"""Names of those that networks learn from."""

STAND_INS = ("mixture", "ruled")
"""Those of them that are drawn for training alone: they resemble no real specimen."""

UNSEEN = tuple(_UNSEEN_SPECIMENS)
"""Names of those that no network may ever learn from."""

STRANGE = tuple(_STRANGE_SPECIMENS)
"""Names of those that mislead focus measures."""
STRANGE_TRAINED = ("lattice", "sparse", "layers", "facets")
"""Those of them that networks may learn from."""
STRANGE_UNSEEN = ("labyrinth", "foam", "section", "grating")
"""And those that they never may."""
TRAINABLE: dict[str, Drawn] = (
    TRAINING_SPECIMENS
    | {name: _STRANGE_SPECIMENS[name] for name in STRANGE_TRAINED}
    | {NOTHING: Empty}
)
"""All that may be drawn for training."""

SPECIMENS = tuple(_BY_NAME)
"""Names of all drawn specimens; `image:PATH` makes one of a micrograph."""

LAYERS = ("dust", "scratches", "charging")
"""What may lie over any of them: `tin_balls+dust+scratches`."""

_REMEDY = f"use one of {', '.join(SPECIMENS)}, or image:PATH; +{', +'.join(LAYERS)} soil it"


def open_specimen(name: str, *, seed: int) -> Specimen:
    """The specimen of that name: one of `SPECIMENS`, or `image:PATH` for a TIFF, PNG or JPEG micrograph.

    `LAYERS` may follow it, each after a plus sign.

    Raises:
        SpecimenError: no such specimen or layer, or an image that cannot serve as one.
    """
    below, layers = _split(name)
    if below.startswith("image:"):
        specimen: Specimen = load_micrograph(Path(below.removeprefix("image:")))
    elif below in _BY_NAME:
        specimen = _BY_NAME[below](seed)
    else:
        raise SpecimenError(f"no specimen is called {below!r}", remedy=_REMEDY)
    if not layers:
        return specimen
    return Soiled(specimen=specimen, seed=seed, **dict.fromkeys(layers, 1.0))


def _split(name: str) -> tuple[str, list[str]]:
    """A name without its layers, and the layers; a file's name may hold plus signs of its own."""
    layers: list[str] = []
    below, plus, last = name.rpartition("+")
    while plus and last in LAYERS:
        layers.append(last)
        name = below
        below, plus, last = name.rpartition("+")
    if plus and not name.startswith("image:"):
        raise SpecimenError(f"nothing called {last!r} can lie over a specimen", remedy=_REMEDY)
    return name, layers
