"""Dataset 1: labelled frames of the trained specimens as Lee et al. 2021 took them, made from a seed.

30 000 frames of 640 x 480, 10 000 per specimen, at the published magnifications, with brightness, contrast, focus,
astigmatism, noise, charging and dust varied. Parts are split by scene: no scene is in two of them. Specimens that no
network learns from are included, all of them for testing.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from afdaemon.sim.datasets.scenes import LabelledFrames, Scene, Variety, log_uniform, open_scene
from afdaemon.sim.imaging.frame import View
from afdaemon.sim.specimens.catalogue import UNSEEN, open_specimen

PUBLISHED_MAGNIFICATIONS = {
    "tin_balls": (500.0, 10_000.0),
    "tem_grid": (500.0, 10_000.0),
    "gold_nanoparticles": (8_000.0, 30_000.0),
}
UNSEEN_MAGNIFICATIONS = (500.0, 10_000.0)
SPECIMENS = (*PUBLISHED_MAGNIFICATIONS, *UNSEEN)
"""Those to train on, then those for testing only."""


class Part(StrEnum):
    """What a scene is for."""

    TRAIN = "train"
    VALIDATE = "validate"
    TEST = "test"


_SHARES = ((Part.TRAIN, 0.70), (Part.VALIDATE, 0.85), (Part.TEST, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset1:
    """The frames of a seed. A `width_px` of 320 gives the fast mode, at whose sampling networks judge."""

    seed: int = 1
    scenes_per_specimen: int = 1250
    frames_per_scene: int = 8
    width_px: int = 640
    height_px: int = 480
    variety: Variety = field(default_factory=Variety)

    def scenes(self, part: Part, specimen: str) -> list[int]:
        """Numbers of the specimen's scenes in `part`."""
        numbers = range(self.scenes_per_specimen)
        return [number for number in numbers if part_of(specimen, number) is part]

    def frames(self, specimen: str, number: int) -> LabelledFrames:
        """The frames of one scene; each call gives the same ones. `scene` is its name, e.g. `tin_balls-0007`."""
        rng = np.random.default_rng((self.seed, SPECIMENS.index(specimen), number))
        return self._scene(specimen, number, rng).frames(self.frames_per_scene, rng)

    def part(self, part: Part, *specimens: str) -> Iterator[LabelledFrames]:
        """All scenes of a part, specimen by specimen; by default those of the specimens to train on."""
        for specimen in specimens or PUBLISHED_MAGNIFICATIONS:
            for number in self.scenes(part, specimen):
                yield self.frames(specimen, number)

    def _scene(self, specimen: str, number: int, rng: np.random.Generator) -> Scene:
        magnification = log_uniform(
            rng, PUBLISHED_MAGNIFICATIONS.get(specimen, UNSEEN_MAGNIFICATIONS)
        )
        view = View(
            x_um=0.0,
            y_um=0.0,
            magnification=magnification,
            width_px=self.width_px,
            height_px=self.height_px,
        )
        drawn = open_specimen(specimen, seed=int(rng.integers(2**31)))
        return open_scene(f"{specimen}-{number:04}", drawn, view, self.variety, rng)


def part_of(specimen: str, number: int) -> Part:
    """Part of a scene, decided by its name alone: 70, 15 and 15 % of them; unseen specimens are for testing."""
    if specimen in UNSEEN:
        return Part.TEST
    digest = hashlib.sha256(f"{specimen}-{number:04}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return next(part for part, end in _SHARES if place < end)
