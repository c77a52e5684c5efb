"""A part of a frame is judged at the sampling of the whole."""

import numpy as np
import pytest

from afdaemon.models.frames.region import WHOLE, Region, cut
from afdaemon.models.frames.spectrum import BANDS, frame_bands


def frame(width: int, dtype: type[np.uint8] | type[np.uint16]) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, np.iinfo(dtype).max, (width * 3 // 4, width)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("width", [320, 640, 1280])
def test_the_part_is_where_it_should_be(width: int, dtype: type[np.uint8]) -> None:
    pixels = frame(width, dtype)
    assert cut(pixels, WHOLE) is pixels
    part = cut(pixels, Region(x=0.5, y=0.25, width=0.5, height=0.5))
    assert part.shape == (120, 160)
    factor = width // 320
    whole = pixels.reshape(240, factor, 320, factor).mean(axis=(1, 3)) / np.iinfo(dtype).max
    assert np.allclose(part / np.iinfo(part.dtype).max, whole[60:180, 160:], atol=1e-4)


@pytest.mark.parametrize("shape", [(96, 128), (64, 64), (100, 300)])
def test_every_band_of_a_small_frame_tells_something(shape: tuple[int, int]) -> None:
    """White noise has the same power in each; none is the floor of an empty band."""
    noise = np.random.default_rng(2).normal(128.0, 25.0, shape).clip(0, 255).astype(np.uint8)
    bands = np.array(frame_bands(noise))
    assert bands.shape == (BANDS,)
    assert np.abs(bands - np.log((25.0 / 255.0) ** 2)).max() < 3.5
