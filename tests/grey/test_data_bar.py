"""Data bars are cut, and nothing else is."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.grey.data_bar import picture_rows, without_data_bar
from afdaemon.grey.scale import full_scale

Grey = NDArray[np.uint8]
HEIGHT, WIDTH, BAR = 480, 640, 40
LASTS = ("plain", "line", "noise")


def picture(seed: int = 0, level: float = 110.0) -> Grey:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(0.0, 40.0, (HEIGHT // 8, WIDTH // 8)), (WIDTH, HEIGHT))
    return np.clip(level + coarse + rng.normal(0.0, 8.0, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)


def bar(background: int, last: str = "plain", text: int = 1) -> Grey:
    """A strip with text; its last row may be a frame, or what a converter has left there."""
    drawn = np.full((BAR, WIDTH), background, np.uint8)
    ink = 255 - background
    for line in range(text):
        cv2.putText(
            drawn, "15.0kV  x2,000  WD 9.8mm  SE  10um", (4, 18 + 16 * line),
            cv2.FONT_HERSHEY_SIMPLEX, 0.6, ink, 1 + line,
        )  # fmt: skip
    cv2.line(drawn, (520, 30), (620, 30), ink, 3)
    if last == "line":
        drawn[-1] = ink
    if last == "noise":
        drawn[-1] = np.random.default_rng(0).integers(0, 256, WIDTH)
    return drawn


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("background", [0, 255, 70])
@pytest.mark.parametrize("text", [1, 2])
def test_a_bar_below_is_cut_to_the_row(background: int, last: str, text: int) -> None:
    whole = np.vstack([picture(), bar(background, last, text)])
    assert picture_rows(whole) == slice(0, HEIGHT)
    assert np.array_equal(without_data_bar(whole), picture())


@pytest.mark.parametrize("last", LASTS)
def test_a_bar_above_is_cut_to_the_row(last: str) -> None:
    whole = np.vstack([bar(0, last)[::-1], picture()])
    assert picture_rows(whole) == slice(BAR, BAR + HEIGHT)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_any_number_of_bits_is_judged_like_eight(bits: int) -> None:
    whole = np.vstack([picture(), bar(0)]).astype(np.uint16)
    deep = (whole.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    assert full_scale(deep) == 2**bits - 1
    assert picture_rows(deep) == slice(0, HEIGHT)


@pytest.mark.parametrize("quality", [60, 90])
def test_a_bar_that_went_through_jpeg_is_cut(quality: int) -> None:
    whole = np.vstack([picture(), bar(0)])
    _, data = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, quality])
    rows = picture_rows(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8))
    assert rows.start == 0
    assert abs(rows.stop - HEIGHT) <= 2


@given(
    height=st.integers(1, 90),
    width=st.integers(9, 90),
    seed=st.integers(0, 99),
    is_deep=st.booleans(),
)
def test_pictures_without_a_bar_are_left_alone(
    height: int, width: int, seed: int, is_deep: bool
) -> None:
    dtype = np.uint16 if is_deep else np.uint8
    grey = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width), dtype)
    assert without_data_bar(grey).shape == grey.shape
    flat = np.full((height, width), seed, dtype)
    assert without_data_bar(flat).shape == flat.shape


@pytest.mark.parametrize("level", [-200.0, 5.0, 110.0, 250.0, 500.0])
def test_dark_bright_and_saturated_pictures_are_left_alone(level: float) -> None:
    assert without_data_bar(picture(3, level)).shape == (HEIGHT, WIDTH)


def test_a_dark_substrate_below_is_no_bar() -> None:
    """An edge along the lines, the lower quarter almost black."""
    whole = picture()
    rng = np.random.default_rng(2)
    whole[-HEIGHT // 4 :] = np.clip(rng.normal(9.0, 4.0, (HEIGHT // 4, WIDTH)), 0, 255)
    assert without_data_bar(whole).shape == whole.shape
