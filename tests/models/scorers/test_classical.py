"""Focus functions: what they are, what leaves them unchanged, and that they fall with blur."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.models.errors import ImageError
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.classical import CLASSICAL, ClassicalScorer, classical_scorer, measure
from afdaemon.models.scorers.linear_map import LinearMap

Image = NDArray[np.float32]

POWER_OF_GAIN = {
    "Absolute variance": 1,
    "Squared variance": 2,
    "Absolute gradient": 1,
    "Squared gradient": 2,
    "Vollath F4": 2,
    "Normalised variance": 1,
    "Tenengrad": 2,
    "Laplacian variance": 2,
}
"""With which power of the contrast each grows; entropy with none."""
KNOWS_NO_BRIGHTNESS = set(CLASSICAL) - {"Normalised variance", "Vollath F4"}
seeds = st.integers(0, 2**31)


def rough(seed: int, height: int = 48, width: int = 64) -> Image:
    """Blocks of a few pixels with grey values from .3 to .7, on whole grey levels."""
    blocks = np.random.default_rng(seed).integers(76, 179, (height // 4, width // 4))
    return np.asarray(blocks.repeat(4, 0).repeat(4, 1) / 255.0, np.float32)


@pytest.mark.parametrize("name", sorted(POWER_OF_GAIN))
@settings(max_examples=20)
@given(seed=seeds, gain=st.floats(0.2, 1.3))
def test_contrast_scales_by_a_power_of_its_own(name: str, seed: int, gain: float) -> None:
    image = rough(seed)
    scaled = measure(name, image * np.float32(gain))
    assert scaled == pytest.approx(measure(name, image) * gain ** POWER_OF_GAIN[name], rel=1e-3)


@pytest.mark.parametrize("name", sorted(KNOWS_NO_BRIGHTNESS))
@settings(max_examples=20)
@given(seed=seeds, levels=st.integers(-70, 70))
def test_brightness_changes_nothing(name: str, seed: int, levels: int) -> None:
    image = rough(seed)
    brighter = image + np.float32(levels / 255.0)
    assert measure(name, brighter) == pytest.approx(measure(name, image), rel=1e-3)


@pytest.mark.parametrize("name", CLASSICAL)
@settings(max_examples=20)
@given(seed=seeds)
def test_upside_down_is_the_same(name: str, seed: int) -> None:
    image = rough(seed)
    turned = np.ascontiguousarray(image[::-1])
    assert measure(name, turned) == pytest.approx(measure(name, image), rel=1e-4)


@pytest.mark.parametrize(
    "name", ["Absolute variance", "Squared variance", "Entropy", "Normalised variance"]
)
@settings(max_examples=20)
@given(seed=seeds)
def test_statistics_do_not_ask_where_a_pixel_lies(name: str, seed: int) -> None:
    image = rough(seed)
    shuffled = np.random.default_rng(seed).permutation(image.ravel()).reshape(image.shape)
    assert measure(name, shuffled) == pytest.approx(measure(name, image), rel=1e-4)


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("grey", [0.0, 0.4, 1.0])
def test_a_flat_frame_measures_nothing(name: str, grey: float) -> None:
    assert measure(name, np.full((64, 64), grey, np.float32)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", CLASSICAL)
@settings(max_examples=20)
@given(seed=seeds)
def test_a_clean_frame_measures_less_the_more_it_is_blurred(name: str, seed: int) -> None:
    sharp = rough(seed, 96, 96)
    blurred = [cv2.GaussianBlur(sharp, (0, 0), sigma_px) for sigma_px in (1.0, 2.0, 4.0)]
    values = [measure(name, np.asarray(image, np.float32)) for image in (sharp, *blurred)]
    # blurred edges make new grey levels out of few: entropy only falls from where there are many
    falling = values[1:] if name == "Entropy" else values
    assert falling == sorted(falling, reverse=True)


# The textbook, pixel by pixel


def mean_over(rows: range, columns: range, value: Callable[[int, int], float]) -> float:
    return sum(value(y, x) for y in rows for x in columns) / (len(rows) * len(columns))


def textbook(name: str, image: Image) -> float:
    height, width = image.shape
    i: list[list[float]] = image.astype(float).tolist()
    rows, columns = range(height), range(width)
    mean = mean_over(rows, columns, lambda y, x: i[y][x])
    inner = (range(1, height - 1), range(1, width - 1))

    def along(y: int, x: int) -> float:
        return sum(w * (i[y + k][x + 1] - i[y + k][x - 1]) for k, w in ((-1, 1), (0, 2), (1, 1)))

    def across(y: int, x: int) -> float:
        return sum(w * (i[y + 1][x + k] - i[y - 1][x + k]) for k, w in ((-1, 1), (0, 2), (1, 1)))

    def laplacian(y: int, x: int) -> float:
        return i[y][x - 1] + i[y][x + 1] + i[y - 1][x] + i[y + 1][x] - 4.0 * i[y][x]

    def bits() -> float:
        grey = [round(255.0 * value) for row in i for value in row]
        shares = [grey.count(level) / len(grey) for level in set(grey)]
        return -sum(share * math.log2(share) for share in shares)

    squared_variance = mean_over(rows, columns, lambda y, x: (i[y][x] - mean) ** 2)
    curvature = mean_over(*inner, laplacian)
    pairs, threes = range(width - 1), range(width - 2)
    measures: dict[str, Callable[[], float]] = {
        "Absolute variance": lambda: mean_over(rows, columns, lambda y, x: abs(i[y][x] - mean)),
        "Squared variance": lambda: squared_variance,
        "Absolute gradient": lambda: mean_over(
            rows, pairs, lambda y, x: abs(i[y][x + 1] - i[y][x])
        ),
        "Squared gradient": lambda: mean_over(
            rows, pairs, lambda y, x: (i[y][x + 1] - i[y][x]) ** 2
        ),
        "Vollath F4": lambda: mean_over(
            rows, threes, lambda y, x: i[y][x] * i[y][x + 1] - i[y][x] * i[y][x + 2]
        ),
        "Entropy": bits,
        "Normalised variance": lambda: squared_variance / mean,
        "Tenengrad": lambda: mean_over(*inner, lambda y, x: along(y, x) ** 2 + across(y, x) ** 2),
        "Laplacian variance": lambda: mean_over(
            *inner, lambda y, x: (laplacian(y, x) - curvature) ** 2
        ),
    }
    return measures[name]()


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("size", [(3, 3), (5, 8), (11, 7)])
def test_measures_agree_with_the_textbook(name: str, size: tuple[int, int]) -> None:
    grey = np.random.default_rng(5).integers(0, 256, size)
    image = np.asarray(grey / 255.0, np.float32)
    assert measure(name, image) == pytest.approx(textbook(name, image), rel=1e-4, abs=1e-7)


# Scorers


def shot(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Shot:
    return Shot(pixels=pixels, magnification=2_000.0)


@pytest.mark.parametrize("name", CLASSICAL)
def test_every_measure_has_a_fitted_map(name: str) -> None:
    scorer = classical_scorer(name)
    noise = np.random.default_rng(1).integers(0, 256, (120, 160), dtype=np.uint8)
    scores = scorer.scores([shot(noise), shot(np.zeros((240, 320), np.uint8))])
    assert scorer.name == name
    assert scores.shape == (2,)
    assert ((scores >= 0.0) & (scores <= 9.0)).all()
    assert scorer.scores([]).shape == (0,)


def test_a_scorer_sees_the_sampling_that_networks_see() -> None:
    small = np.random.default_rng(2).integers(0, 256, (240, 320), dtype=np.uint8)
    large = small.repeat(2, 0).repeat(2, 1)
    scorer = ClassicalScorer("Squared gradient", LinearMap(slope=10.0, offset=1.0))
    first, second, deep = scorer.scores(
        [shot(small), shot(large), shot(small.astype(np.uint16) * 257)]
    )
    assert 1.0 < first < 9.0
    assert second == pytest.approx(first)
    assert deep == pytest.approx(first)


def test_a_tiny_frame_is_refused() -> None:
    with pytest.raises(ImageError, match="too small"):
        ClassicalScorer("Entropy", LinearMap(1.0, 0.0)).scores([shot(np.zeros((9, 9), np.uint8))])
