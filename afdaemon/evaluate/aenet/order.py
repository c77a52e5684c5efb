"""Real micrographs, blurred and made noisy on purpose: does less blur always score better?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.wire.image import decode_grey
from afdaemon.evaluate.judged import Case, Judge, Judged, judged
from afdaemon.evaluate.section import Section, at_least, at_most, new_figure
from afdaemon.grey.data_bar import without_data_bar
from afdaemon.models.frames.preprocess import FloatImage
from afdaemon.models.frames.shot import Shot, judged_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RADII_PX = (0, 2, 4, 8)
SIGMAS = (5.0, 25.0)
_ORDERED_SHARE = 0.97
_NOISE_MAY_WIN = 0.5
MAGNIFICATION = 1_000.0
"""Assumed for every micrograph: the magnification of most is not known."""

_FINE = 8
"""Subdivisions of a pixel with which the edge of the disc is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worn:
    """Which micrograph, blurred by a disc of `radius_px` at the judged sampling, with noise of `sigma` grey levels."""

    picture: str
    repeat: int
    radius_px: int
    sigma: float


def measure(judge: Judge, micrographs: Sequence[Path], *, repeats: int, seed: int) -> Section:
    """All micrographs as published, with `repeats` draws of noise."""
    return conclude(list(judged(judge, cases(micrographs, repeats=repeats, seed=seed))))


def cases(micrographs: Sequence[Path], *, repeats: int, seed: int) -> Iterator[Case[Worn]]:
    """Each micrograph at each blur with each noise."""
    for path in micrographs:
        whole = without_data_bar(decode_grey(path.read_bytes()))
        image = judged_image(Shot(pixels=whole, magnification=MAGNIFICATION))
        name = f"{path.parent.name}/{path.name}"
        rng = np.random.default_rng([seed, *name.encode()])
        for radius_px in RADII_PX:
            blurred = blur(image, radius_px)
            for repeat, sigma in product(range(repeats), SIGMAS):
                facts = Worn(picture=name, repeat=repeat, radius_px=radius_px, sigma=sigma)
                frame = _with_noise(blurred, sigma, rng)
                yield Case(Shot(pixels=frame, magnification=MAGNIFICATION), facts)


def blur(image: FloatImage, radius_px: int) -> FloatImage:
    """`image` (H, W) under a uniform disc; its border is mirrored."""
    if radius_px == 0:
        return image
    return np.asarray(
        cv2.filter2D(image, -1, disc(radius_px), borderType=cv2.BORDER_REFLECT), np.float32
    )


def disc(radius_px: int) -> FloatImage:
    """A disc of sum 1, (2 r + 3, 2 r + 3); pixels at its edge count by their covered share."""
    size = 2 * radius_px + 3
    at = (np.arange(size * _FINE) + 0.5) / _FINE - 0.5 * size
    inside = (np.hypot(at[:, None], at[None, :]) <= radius_px).astype(np.float32)
    kernel = inside.reshape(size, _FINE, size, _FINE).mean(axis=(1, 3))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _with_noise(image: FloatImage, sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """8-bit frame (H, W) of a 0..1 image with independent Gaussian noise of `sigma` grey levels."""
    levels = 255.0 * image + sigma * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two frames of a picture: by how much the score of the first is above that of the second."""

    first: Worn
    second: Worn
    ahead: float


def pairs(found: Sequence[Judged[Worn]]) -> tuple[list[Pair], list[Pair]]:
    """Neighbours in blur with equal noise (less blur first); and neighbours in noise at equal blur (noisier first)."""
    score = {one.facts: one.said.score for one in found}

    def pair(first: Worn, second: Worn) -> Pair:
        return Pair(first=first, second=second, ahead=score[first] - score[second])

    blurs, noises = [], []
    for picture, repeat in dict.fromkeys((w.picture, w.repeat) for w in score):
        grid = {
            (r, s): Worn(picture=picture, repeat=repeat, radius_px=r, sigma=s)
            for r, s in product(RADII_PX, SIGMAS)
        }
        blurs += [pair(grid[a, s], grid[b, s]) for s in SIGMAS for a, b in pairwise(RADII_PX)]
        noises += [pair(grid[r, b], grid[r, a]) for r in RADII_PX for a, b in pairwise(SIGMAS)]
    return blurs, noises


def conclude(found: Sequence[Judged[Worn]]) -> Section:
    """Share of the pairs in order, and the largest lead of a noisier frame."""
    blurs, noises = pairs(found)
    ordered = float(np.mean([pair.ahead > 0.0 for pair in blurs])) if blurs else 0.0
    lead = max((pair.ahead for pair in noises), default=float("inf"))
    wrong = [pair for pair in blurs if pair.ahead <= 0.0]
    noisy = [pair for pair in noises if pair.ahead > _NOISE_MAY_WIN]
    pictures = len({one.facts.picture for one in found})
    return Section(
        key="order",
        title=f"Order of {pictures} real micrographs under blur and noise",
        lines=[
            f"{len(blurs) - len(wrong)} of {len(blurs)} neighbouring pairs in order",
            *(f"  wrong: {_named(p.first)} {p.ahead:+.3f} {_named(p.second)}" for p in wrong),
            f"largest lead of a noisier frame of the same blur: {lead:+.3f}",
            *(f"  noisier wins: {_named(pair.first)} by {pair.ahead:.3f}" for pair in noisy),
        ],
        bars=[
            at_least("real micrographs: share of neighbours in order", ordered, _ORDERED_SHARE),
            at_most("real micrographs: a noisier frame wins by", lead, _NOISE_MAY_WIN),
        ],
        numbers={
            "pictures": pictures,
            "pairs": len(blurs),
            "ordered": ordered,
            "largest_lead_of_noise": lead,
            "wrong": [[_named(p.first), _named(p.second), p.ahead] for p in wrong],
        },
        figures={"order": _plot(found)},
    )


def _named(worn: Worn) -> str:
    return f"{worn.picture} r {worn.radius_px} px sigma {worn.sigma:g}"


def _plot(found: Sequence[Judged[Worn]]) -> "Figure":
    figure = new_figure(7.0, 3.4)
    for axes, sigma in zip(figure.subplots(1, len(SIGMAS), sharey=True), SIGMAS, strict=True):
        for picture in dict.fromkeys(one.facts.picture for one in found):
            means = [
                np.mean(
                    [
                        one.said.score
                        for one in found
                        if (one.facts.picture, one.facts.radius_px, one.facts.sigma)
                        == (picture, radius_px, sigma)
                    ]
                )
                for radius_px in RADII_PX
            ]
            axes.plot(RADII_PX, means, ".-", lw=0.8, alpha=0.7)
        axes.set(title=f"noise {sigma:g}", xlabel="blur radius / px", ylabel="score")
    return figure
