"""Classical image measures: those that ACNet sees apart from the score, and the focus functions of Kim et al. 2019.

Focus functions are means over the frame, so that frames of all sizes can be compared. Their values are not scores: a
linear map fitted on labelled frames brings each to 0..9, as in Kim et al. 2019 (Table 1). I is the 0..1 image, x runs
along a line of the scan.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.models.frames.preprocess import FloatImage
from afdaemon.models.frames.shot import Shot, judged_image
from afdaemon.models.scorers.linear_map import LinearMap, read_maps

_BINS = 256


def contrast(image: FloatImage) -> float:
    """Standard deviation over mean of a 0..1 image (what Lee et al. 2021 call variance); 0 for a black one."""
    mean = float(image.mean())
    return float(image.std()) / mean if mean > 0.0 else 0.0


def entropy(image: FloatImage) -> float:
    """Entropy in bits over 256 equal bins from the image's minimum to its maximum; 0 for a flat one."""
    low, high = float(image.min()), float(image.max())
    if high <= low:
        return 0.0
    counts = np.histogram(image, bins=_BINS, range=(low, high))[0]
    return _bits(counts)


def saturated_share(image: FloatImage) -> float:
    """Share of pixels at either end of the grey scale (within 0.2 %)."""
    return float(np.mean((image <= 0.002) | (image >= 0.998)))


def _bits(counts: NDArray[np.integer | np.floating]) -> float:
    """Entropy in bits of a histogram of any shape."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


# Focus functions


def _absolute_variance(image: FloatImage) -> float:
    """Mean of |I - mean|: the absolute central moment (Shirvaikar 2004; "ACM variance" in Kim et al. 2019)."""
    return float(np.abs(image - image.mean()).mean())


def squared_variance(image: FloatImage) -> float:
    """Mean of (I - mean)^2 (Groen et al. 1985)."""
    return _mean_and_variance(image)[1]


def _absolute_gradient(image: FloatImage) -> float:
    """Mean of |I(x + 1) - I(x)| (Jarvis 1976; Santos et al. 1997 without their threshold)."""
    return float(np.abs(_steps(image)).mean())


def _squared_gradient(image: FloatImage) -> float:
    """Mean of (I(x + 1) - I(x))^2 (Brenner et al. 1976 with neighbours; Santos et al. 1997)."""
    step = _steps(image)
    return _mean_product(step, step)


def _vollath_f4(image: FloatImage) -> float:
    """Mean of I(x) I(x + 1) - I(x) I(x + 2), where both are inside (Vollath 1987)."""
    return -_mean_product(np.ascontiguousarray(image[:, :-2]), _steps(image)[:, 1:])


def _grey_level_entropy(image: FloatImage) -> float:
    """Entropy in bits over the 256 grey levels (Firestone et al. 1991); unlike `entropy` not stretched first."""
    grey = cv2.convertScaleAbs(image, alpha=255.0)
    return _bits(cv2.calcHist([grey], [0], None, [_BINS], [0, _BINS]))


def normalised_variance(image: FloatImage) -> float:
    """Mean of (I - mean)^2, over the mean (Groen et al. 1985); 0 for a black frame."""
    mean, spread_squared = _mean_and_variance(image)
    return spread_squared / mean if mean > 0.0 else 0.0


def tenengrad(image: FloatImage) -> float:
    """Mean of Gx^2 + Gy^2 with the 3 x 3 Sobel operators, edges left out (Tenenbaum 1970; Krotkov 1988)."""
    along = _inner(cv2.Sobel(image, cv2.CV_32F, 1, 0))
    across = _inner(cv2.Sobel(image, cv2.CV_32F, 0, 1))
    return _mean_product(along, along) + _mean_product(across, across)


def _laplacian_variance(image: FloatImage) -> float:
    """Variance of the four-neighbour Laplacian, edges left out (Pech-Pacheco et al. 2000)."""
    return _mean_and_variance(_inner(cv2.Laplacian(image, cv2.CV_32F)))[1]


def _mean_and_variance(image: FloatImage) -> tuple[float, float]:
    mean, spread = cv2.meanStdDev(image)
    return float(mean[0, 0]), float(spread[0, 0]) ** 2


def _mean_product(first: FloatImage, second: FloatImage) -> float:
    return float(np.vdot(first, second)) / first.size


def _steps(image: FloatImage) -> FloatImage:
    """I(x + 1) - I(x), (H, W - 1)."""
    return image[:, 1:] - image[:, :-1]


def _inner(filtered: NDArray[np.integer | np.floating]) -> FloatImage:
    """A filtered image without its outermost pixels, where the filter saw none."""
    return np.ascontiguousarray(filtered[1:-1, 1:-1], np.float32)


_MEASURES: dict[str, Callable[[FloatImage], float]] = {
    "Absolute variance": _absolute_variance,
    "Squared variance": squared_variance,
    "Absolute gradient": _absolute_gradient,
    "Squared gradient": _squared_gradient,
    "Vollath F4": _vollath_f4,
    "Entropy": _grey_level_entropy,
    "Normalised variance": normalised_variance,
    "Tenengrad": tenengrad,
    "Laplacian variance": _laplacian_variance,
}

CLASSICAL: tuple[str, ...] = tuple(_MEASURES)
"""Names of the focus functions: the six of Kim et al. 2019, then three that are widely used."""


def measure(name: str, image: FloatImage) -> float:
    """The focus function `name` (one of `CLASSICAL`) of a 0..1 image, float32 (H, W), at least 3 x 3."""
    return _MEASURES[name](image)


class ClassicalScorer:
    """A focus function and its linear map behind `FrameScorer`; it sees the frame at the networks' sampling."""

    def __init__(self, name: str, linear_map: LinearMap) -> None:
        self._name, self._map = name, linear_map

    @property
    def name(self) -> str:
        """One of `CLASSICAL`."""
        return self._name

    def scores(self, shots: Sequence[Shot]) -> NDArray[np.float64]:
        """Scores 0..9, (n,), of frames that may differ in size. Raises `ImageError` for one it cannot judge."""
        values = [measure(self._name, judged_image(shot)) for shot in shots]
        return self._map.scores(np.array(values, np.float64))


def classical_scorer(name: str) -> ClassicalScorer:
    """The focus function `name` with its fitted map. Raises `WeightsError` if none was fitted."""
    return ClassicalScorer(name, read_maps(CLASSICAL)[name])
