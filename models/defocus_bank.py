"""What the defocus network is trained on: spectra and AENet's answers of simulated scenes, measured beforehand.

Each scene is measured once at each of `PLACES_DOF`; between them it is interpolated, and noise is added as two frames
of one place differ. What is read is a field (`Fields`): one scene, or two of them side by side, one lying higher; with
a spectrum, a direction and a bias of AENet's of its own. So the network meets specimens that nobody drew.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from afdaemon.models.errors import TrainingError
from afdaemon.models.spectrum import BANDS, PAIRS

Array = NDArray[np.float64]

FAR_DOF = 200.0
PLACES_DOF: Array = np.sinh(np.linspace(-1.0, 1.0, 39) * np.arcsinh(FAR_DOF))
"""Where scenes are measured, in true depths of focus from the best WD; with astigmatism the sides differ."""
_STEP = 2.0 * math.asinh(FAR_DOF) / (len(PLACES_DOF) - 1)
_U_NOISE = 0.05
_MODES: Array = np.asarray(5.0 * 1.57 ** np.arange(BANDS), np.float64)
"""Modes in each band of a fast-mode frame, nearly; each direction has a fourth of them."""
_WINDOWED = 3.0
"""The window ties neighbouring modes together: the spread of their mean is that of so many times fewer."""
_MEASURED = 0.4
"""What was measured has noise of its own; so much less is added."""
_MOVED, _MOVED_MODES = 4e-4, 0.1
"""Variance of a band's logarithm between frames without noise, because the field has moved a little; the second, over
the number of modes, is what a shift by some seven pixels does."""
_TINTS, _TINT, _LEAN = 4, 0.5, 0.25
"""A field's own spectrum: so many cosines over the bands, each of this spread; and that of its directions."""
_BIAS = 0.2
"""Spread of what AENet's u is off by in one field."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What n runs look at: scenes (n, 2), their shares of the area and of the fine detail, and their heights in DoF.

    `tint` (n, 18) is added to the logarithm of the specimen's power in each band, `lean` (n, 18) to what its directions
    differ by, `bias` (n,) to AENet's u. Heights weighed by detail are 0: focus lies where detail lies.
    """

    scenes: NDArray[np.int64]
    area: NDArray[np.float32]
    detail: NDArray[np.float32]
    heights_dof: Array
    tint: NDArray[np.float32]
    lean: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DefocusBank:
    """Scenes at `PLACES_DOF`: spectra (s, 39, 36), AENet's u and the logarithm of its error (s, 39), float32."""

    bands: NDArray[np.float32]
    u: NDArray[np.float32]
    log_error: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.bands)

    def plain_fields(self, scenes: NDArray[np.int64]) -> Fields:
        """Scenes (n,) as they are."""
        n = len(scenes)
        first = np.tile(np.array([1.0, 0.0], np.float32), (n, 1))
        none = np.zeros((n, BANDS), np.float32)
        return Fields(
            np.stack([scenes, scenes], axis=1),
            first,
            first,
            np.zeros((n, 2)),
            none,
            none,
            none[:, 0],
        )

    def mixed_fields(
        self, count: int, rng: np.random.Generator, *, mixed: float, apart_dof: float
    ) -> Fields:
        """Fields drawn at random; a share `mixed` shows two scenes, whose heights differ by `apart_dof` (rms)."""
        scenes = rng.integers(len(self), size=(count, 2))
        first = np.where(rng.random(count) < mixed, rng.uniform(0.2, 0.8, count), 1.0)
        area = np.stack([first, 1.0 - first], axis=1).astype(np.float32)
        fine = area * np.exp(self.bands[scenes, len(PLACES_DOF) // 2, BANDS // 2 : BANDS]).sum(
            axis=2
        )
        detail = np.asarray(fine / fine.sum(axis=1, keepdims=True), np.float32)
        heights = apart_dof * rng.standard_normal((count, 1)) * detail[:, ::-1] * [1.0, -1.0]
        strength = _TINT * rng.random((count, 1), np.float32)
        lean = np.concatenate([_smooth(rng, count, PAIRS), _smooth(rng, count, PAIRS)], axis=1)
        return Fields(
            scenes,
            area,
            detail,
            heights,
            strength * _smooth(rng, count, BANDS),
            np.float32(_LEAN / _TINT) * strength * lean,
            np.float32(_BIAS) * _normal(rng, (count,)),
        )

    def read(
        self, fields: Fields, defocus_dof: Array, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Spectra (n, 36), u and logarithm of its error (n,) of fields at true distances (n,), with noise."""
        (first, u_1, error_1), (second, u_2, error_2) = (
            self._between(fields.scenes[:, k], defocus_dof + fields.heights_dof[:, k])
            for k in (0, 1)
        )
        floors = self.bands[:, :, BANDS - 1].min(axis=1)[fields.scenes]
        floor = np.log((fields.area * np.exp(floors)).sum(axis=1))
        bands = _side_by_side(first, second, fields.area)
        signal = 1.0 - _noise_share(bands, floor)
        bands[:, :BANDS] += np.log1p(signal * np.expm1(fields.tint))
        bands[:, BANDS:] += np.tile(_of_pairs(signal), 2) * fields.lean
        bands += _spread(bands, floor) * _normal(rng, bands.shape)
        u = fields.detail[:, 0] * u_1 + fields.detail[:, 1] * u_2 + fields.bias
        u += np.float32(_U_NOISE) * _normal(rng, u.shape)
        return bands, u, fields.detail[:, 0] * error_1 + fields.detail[:, 1] * error_2

    def _between(
        self, scene: NDArray[np.int64], defocus_dof: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """What was measured of scenes (n,), interpolated."""
        middle = 0.5 * (len(PLACES_DOF) - 1)
        at = np.clip(np.arcsinh(defocus_dof) / _STEP + middle, 0.0, 2.0 * middle - 1e-6)
        low = at.astype(np.int64)
        upper = np.asarray(at - low, np.float32)

        def mixed(values: NDArray[np.float32]) -> NDArray[np.float32]:
            share = upper.reshape(-1, *[1] * (values.ndim - 2))
            return np.asarray(
                values[scene, low] * (1.0 - share) + values[scene, low + 1] * share, np.float32
            )

        return mixed(self.bands), mixed(self.u), mixed(self.log_error)


def _smooth(rng: np.random.Generator, count: int, size: int) -> NDArray[np.float32]:
    """Smooth random curves (count, size): a few cosines."""
    x = (np.arange(size) + 0.5) / size
    cosines = np.cos(np.pi * np.arange(_TINTS)[:, None] * x).astype(np.float32)
    return np.asarray(_normal(rng, (count, _TINTS)) @ cosines, np.float32)


def _side_by_side(
    first: NDArray[np.float32], second: NDArray[np.float32], area: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Spectra (n, 36) of fields of which two parts have those spectra: their powers add."""
    one, other = (
        area[:, k, None] * np.exp(part[:, :BANDS]) for k, part in enumerate((first, second))
    )
    share = np.tile(_of_pairs(one) / np.maximum(_of_pairs(one + other), 1e-30), 2)
    directions = share * first[:, BANDS:] + (1.0 - share) * second[:, BANDS:]
    return np.asarray(np.concatenate([np.log(one + other), directions], axis=1), np.float32)


def _of_pairs(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means (n, 9) over the modes of each pair of bands (n, 18)."""
    weighed = (bands * _MODES).reshape(-1, PAIRS, 2).sum(axis=2)
    return np.asarray(weighed / _MODES.reshape(PAIRS, 2).sum(axis=1), np.float32)


def _noise_share(spectra: NDArray[np.float32], floor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of white noise of the power `floor` (n,) in each band, (n, 18)."""
    return np.asarray(np.exp(np.minimum(floor[:, None] - spectra[:, :BANDS], 0.0)), np.float32)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def _spread(spectra: NDArray[np.float32], floor: NDArray[np.float32]) -> NDArray[np.float32]:
    """By how much spectra (n, 36) differ between frames of one place, where white noise has the power `floor` (n,).

    The power of a mode of noise is spread as widely as its mean; where noise adds to a signal, their product is.
    """
    noise = _noise_share(spectra, floor)
    of_a_mode = (1.0 - _MEASURED) * _WINDOWED * noise * (2.0 - noise)
    of_a_mode += _MOVED_MODES * (1.0 - noise) ** 2
    pairs = _of_pairs(of_a_mode) / _MODES.reshape(PAIRS, 2).sum(axis=1)
    variance = np.concatenate([of_a_mode / _MODES, 8.0 * pairs, 8.0 * pairs], axis=1)
    return np.asarray(np.sqrt(_MOVED + variance), np.float32)


def save_banks(file: Path, banks: dict[str, DefocusBank], made_with: dict[str, str]) -> None:
    """Write banks by name, and what they were made with, as a safetensors file."""
    arrays = {
        f"{name}.{field.name}": getattr(bank, field.name)
        for name, bank in banks.items()
        for field in fields(DefocusBank)
    }
    save_file(arrays, file, metadata=made_with)


def load_banks(file: Path, made_with: dict[str, str]) -> dict[str, DefocusBank]:
    """Banks by name as `save_banks` wrote them.

    Raises:
        TrainingError: they were made with something else, or the file is none of these.
    """
    try:
        with safe_open(file, framework="numpy") as read:
            found = read.metadata() or {}
            arrays = {name: read.get_tensor(name) for name in read.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{file} is no bank of scenes: {error}", remedy="give another file"
        ) from error
    for key, value in made_with.items():
        if found.get(key) != value:
            raise TrainingError(
                f"{file} was made with {key} = {found.get(key)}, not {value}",
                remedy="give the options that it was made with, or another file",
            )
    return {
        name: DefocusBank(**{f.name: arrays[f"{name}.{f.name}"] for f in fields(DefocusBank)})
        for name in sorted({name.split(".")[0] for name in arrays})
    }
