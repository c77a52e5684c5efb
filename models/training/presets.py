"""Trainings by name: as the papers describe theirs, and as our own networks are trained on a CPU and on a GPU."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from afdaemon.models.errors import TrainingError
from afdaemon.models.training.augment import Augmentation
from afdaemon.models.training.trainer import Settings
from afdaemon.spec import nearest

P = TypeVar("P")

_DATASET1_TRAINING_FRAMES = 21_000
"""70 % of the published 30 000: 875 scenes of 8 frames of each of three specimens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A training, apart from its frames.

    Of Dataset 1's training part `scenes` of each specimen are used. `expert_spread` is the standard deviation of
    labels that are then rounded to integers, as an expert's are; 0 leaves them exact.
    """

    name: str
    source: str
    settings: Settings
    augmentation: Augmentation
    scenes: int = 875
    expert_spread: float = 0.0


_PUBLISHED_BATCH, _KIM_BATCH = 90, 32
_PUBLISHED_EPOCH = math.ceil(_DATASET1_TRAINING_FRAMES / _PUBLISHED_BATCH)
_KIM_EPOCH = math.ceil(_DATASET1_TRAINING_FRAMES / _KIM_BATCH)

PUBLISHED = Preset(
    name="published",
    source="Lee et al. 2021: 200 epochs of 21 000 frames; random windows, flips; MSE",
    settings=Settings(
        steps=200 * _PUBLISHED_EPOCH,
        batch=_PUBLISHED_BATCH,
        validate_every=_PUBLISHED_EPOCH,
        keep_every=_PUBLISHED_EPOCH,
        learning_rate=0.01,
        optimiser="adam",
        eps=1e-12,
        weight_decay=5e-4,
        schedule="plateau",
        patience=10,
        warmup_steps=0,
        largest_gradient=0.0,
        ema_decay=0.0,
    ),
    augmentation=Augmentation(height_px=240, width_px=320),
    expert_spread=0.5,
)

_KIM_CROPS = Augmentation(height_px=224, width_px=224, quarter_turns=True)

KIM = Preset(
    name="kim",
    source="Kim et al. 2019: 100 epochs at rate .00015; 224 x 224 windows, flips, rotations; MSE."
    " They name neither optimiser nor batch: Adam and 32 are ours, and so are more frames",
    settings=Settings(
        steps=100 * _KIM_EPOCH,
        batch=_KIM_BATCH,
        validate_every=_KIM_EPOCH,
        keep_every=_KIM_EPOCH,
        learning_rate=1.5e-4,
        optimiser="adam",
        weight_decay=0.0,
        schedule="plateau",
        patience=100,
        warmup_steps=0,
        largest_gradient=0.0,
        ema_decay=0.0,
    ),
    augmentation=_KIM_CROPS,
    expert_spread=0.5,
)

KIM_CPU = Preset(
    name="kim-cpu",
    source="as kim, but what one core does in minutes: fewer frames, a higher rate that falls along"
    " a cosine, exact labels",
    settings=Settings(
        steps=300,
        batch=16,
        learning_rate=1e-3,
        warmup_steps=20,
        ema_decay=0.0,
        validate_every=50,
        keep_every=100,
    ),
    augmentation=_KIM_CROPS,
    scenes=125,
)

CPU = Preset(
    name="cpu",
    source="ours: windows of frames drawn without end; some 80 minutes on two cores",
    settings=Settings(steps=16_000, batch=32, learning_rate=3e-3),
    augmentation=Augmentation(height_px=160, width_px=160, quarter_turns=True),
)

GPU = Preset(
    name="gpu",
    source="ours: whole frames drawn without end, larger batches, for longer",
    settings=Settings(
        steps=60_000, batch=128, learning_rate=4e-3, warmup_steps=1000, validate_every=1000
    ),
    augmentation=Augmentation(height_px=240, width_px=320),
)

PRESETS = {preset.name: preset for preset in (PUBLISHED, KIM, KIM_CPU, CPU, GPU)}


def preset_called(name: str) -> Preset:
    """The preset of this name. Raises `TrainingError` if there is none."""
    return one_called(name, PRESETS)


def one_called(name: str, presets: Mapping[str, P]) -> P:
    """The one of `presets` that has this name.

    Raises:
        TrainingError: there is none.
    """
    if name in presets:
        return presets[name]
    raise TrainingError(
        f"no preset is called {name!r}{nearest(name, presets)}",
        remedy=f"choose one of {', '.join(presets)}",
    )
