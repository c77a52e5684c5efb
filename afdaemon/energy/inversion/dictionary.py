"""How bright every stack would be that is looked for, and whether the energies tell them apart.

All signals are on the scale where noise is 1 (`Noise.stabilised`). Two layers fill a curved surface in the space of 31
energies; a few directions hold all of it, and the rest is noise. Distances are taken within them.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from afdaemon.energy.physics.forward import Forward
from afdaemon.energy.physics.noise import Noise
from afdaemon.energy.physics.scattering import Floats
from afdaemon.energy.specimens.errors import SeriesError, StackError
from afdaemon.energy.specimens.stacks import Stack

MOST_STACKS = 100_000
"""Combinations of levels that are compared with every pixel: 100 times as many as pixels in a row."""
_LEFT_OUT = 0.1
"""What the directions that are left out may add to a signal at most, in standard deviations of its noise."""
_SLOPE_NM = 0.01


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Levels (nm) of each layer; all K combinations (layers, K); what they look like.

    `signals` are (K, energies). `centre` (energies,) and `basis` (energies, q) span what they fill; `coordinates` (K,
    q) lie in there.
    """

    stack: Stack
    energy_kev: Floats
    noise: Noise
    axes_nm: tuple[Floats, ...]
    levels_nm: Floats
    signals: Floats
    centre: Floats
    basis: Floats
    coordinates: Floats

    def within(self, series: Floats) -> Floats:
        """Coordinates (q, y, x) of a series (energies, y, x); their noise is 1."""
        checked(series, self.energy_kev)
        scaled = self.noise.stabilised(series) - self.centre[:, None, None]
        return np.asarray(np.einsum("eyx,eq->qyx", scaled, self.basis, optimize=True), np.float64)


def checked(series: Floats, energy_kev: Floats) -> None:
    """Raise `SeriesError` unless these are finite images (energies, y, x), one for each energy."""
    if series.ndim != 3 or len(series) != len(energy_kev):
        raise SeriesError(
            f"images of shape {series.shape} for {len(energy_kev)} energies:"
            " (energies, rows, columns) is wanted"
        )
    bad = ~np.isfinite(series).all(axis=(1, 2))
    if bad.any():
        raise SeriesError(
            f"the image at {energy_kev[bad][0]:g} keV has pixels that are no numbers",
            remedy="take that image again, or leave its energy out",
        )


def stacked(images: list[Floats]) -> Floats:
    """One array (energies, y, x) of images; raises `SeriesError` where their sizes differ."""
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        seen = ", ".join(" x ".join(map(str, size)) for size in sorted(sizes))
        raise SeriesError(f"the images differ in size: {seen or 'there are none'}")
    return np.stack(images)


def dictionary(
    forward: Forward, energy_kev: Floats, noise: Noise, steps_nm: tuple[float, ...]
) -> Dictionary:
    """All stacks in steps of `steps_nm`, one a layer.

    Raises `StackError` where there are too many, or where the energies cannot tell the layers apart.
    """
    layers = forward.stack.layers
    axes = tuple(
        np.linspace(0.0, layer.max_nm, 1 + round(layer.max_nm / step))
        for layer, step in zip(layers, steps_nm, strict=True)
    )
    count = int(np.prod([len(axis) for axis in axes]))
    if count > MOST_STACKS:
        raise StackError(
            f"{count} stacks to compare every pixel with, at most {MOST_STACKS} can be",
            remedy="take coarser steps",
        )
    _require_telling(forward, energy_kev, noise)
    levels = np.array(list(itertools.product(*axes))).T
    signals = noise.stabilised(forward.signal(levels, energy_kev)).T
    centre = signals.mean(axis=0)
    basis = _directions(signals - centre)
    return Dictionary(
        stack=forward.stack,
        energy_kev=energy_kev,
        noise=noise,
        axes_nm=axes,
        levels_nm=levels,
        signals=signals,
        centre=centre,
        basis=basis,
        coordinates=(signals - centre) @ basis,
    )


def _directions(centred: Floats) -> Floats:
    """The fewest principal directions (energies, q) that hold every signal."""
    _, directions = np.linalg.eigh(centred.T @ centred)
    basis = directions[:, ::-1]
    for q in range(1, basis.shape[1]):
        rest = centred - centred @ basis[:, :q] @ basis[:, :q].T
        if np.linalg.norm(rest, axis=1).max() < _LEFT_OUT:
            return basis[:, :q]
    return basis


def sensitivity(forward: Forward, thickness_nm: Floats, energy_kev: Floats, noise: Noise) -> Floats:
    """Slopes (energies, layers, ...) of the stabilised signal, per nm, at thicknesses (layers, ...)."""
    slopes = []
    for k, layer in enumerate(forward.stack.layers):
        low, high = thickness_nm.copy(), thickness_nm.copy()
        high[k] = np.minimum(thickness_nm[k] + _SLOPE_NM, layer.max_nm)
        low[k] = high[k] - _SLOPE_NM
        rise = noise.stabilised(forward.signal(high, energy_kev))
        slopes.append((rise - noise.stabilised(forward.signal(low, energy_kev))) / _SLOPE_NM)
    return np.stack(slopes, axis=1)


def best_sd_nm(forward: Forward, thickness_nm: Floats, energy_kev: Floats, noise: Noise) -> Floats:
    """The Cramér-Rao bound (layers,) in nm: no method without bias tells the layers of one pixel any better."""
    slopes = sensitivity(forward, thickness_nm, energy_kev, noise)
    information = slopes.T @ slopes
    if np.linalg.cond(information) > 1e12:
        return np.full(len(thickness_nm), np.inf)
    return np.sqrt(np.diag(np.linalg.inv(information)))


def _require_telling(forward: Forward, energy_kev: Floats, noise: Noise) -> None:
    middle = np.array([layer.max_nm / 2.0 for layer in forward.stack.layers])
    bounds = best_sd_nm(forward, middle, energy_kev, noise)
    for layer, sd_nm in zip(forward.stack.layers, bounds, strict=True):
        if sd_nm > layer.max_nm / 4.0:
            energies = (
                f"{len(energy_kev)} energies of {energy_kev.min():g} to {energy_kev.max():g} keV"
            )
            raise StackError(
                f"{energies} cannot tell how thick the {layer.material.name} is:"
                f" +-{sd_nm:.3g} nm at best, of at most {layer.max_nm:g} nm"
            )
