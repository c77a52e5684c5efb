"""What is no specimen is found by sight, and left out without a trace."""

import asyncio

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.clock import ManualClock
from afdaemon.grey.scale import Pixels
from afdaemon.models.frames.mask import seen
from afdaemon.sim.imaging.prints import Print, printed
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World

Grey = NDArray[np.uint8]
SIZE = (240, 320)
SEEN = [one for one in Print if one is not Print.STUCK]
"""Single pixels are left to the median that the networks see."""


def blurred(seed: int = 0, noise: float = 8.0, level: float = 120.0) -> Grey:
    """A frame far out of focus."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(0.0, 25.0, (6, 8)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(level + coarse + rng.normal(0.0, noise, SIZE), 0, 255).astype(np.uint8)


def sharp(specimen: str, magnification: int = 2_000) -> Grey:
    """A frame in focus."""
    settings = InstrumentSettings(
        specimen=specimen, seed=4, focus_wd_um=12_000.0, start_wd_um=12_000.0,
        magnification=magnification,
    )  # fmt: skip
    return asyncio.run(World(settings, clock=ManualClock()).expose()).pixels


def edges(pixels: Pixels) -> float:
    """The steepest step that is left when noise is smoothed."""
    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 1.5)
    return float(max(np.abs(np.diff(smooth, axis=axis)).max() for axis in (0, 1)))


@pytest.mark.parametrize("kind", SEEN)
@pytest.mark.parametrize("noise", [3.0, 8.0, 25.0])
def test_a_print_on_a_blurred_frame_leaves_no_edge(kind: Print, noise: float) -> None:
    plain = blurred(noise=noise)
    over = printed(plain, [kind], 3)
    look = seen(over)
    assert look.why
    assert 0.0 < look.masked < 0.55
    assert edges(over) > 1.5 * edges(plain)
    assert edges(look.pixels) < 1.3 * edges(plain)
    assert look.pixels.std() == pytest.approx(plain.std(), rel=0.25)


@pytest.mark.parametrize("quality", [70, 90])
@pytest.mark.parametrize("kind", [Print.CROSSHAIR, Print.CLOCK, Print.SCALE_BAR, Print.BORDER])
def test_jpeg_does_not_hide_it(kind: Print, quality: int) -> None:
    plain = blurred()
    data = cv2.imencode(".jpg", printed(plain, [kind], 3), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    again = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    assert edges(seen(again).pixels) < max(1.5 * edges(plain), 0.35 * edges(again))


@pytest.mark.parametrize("kind", [Print.CROSSHAIR, Print.TEXT, Print.BOX])
def test_deep_frames_are_seen_like_shallow_ones(kind: Print) -> None:
    over = printed(blurred(), [kind], 3)
    look = seen(over.astype(np.uint16) * 257)
    assert look.why == seen(over).why == "print"
    assert look.pixels.dtype == np.uint16
    assert look.masked == pytest.approx(seen(over).masked, abs=0.005)


@given(seed=st.integers(0, 200), noise=st.floats(1.0, 40.0), level=st.floats(70.0, 190.0))
def test_a_frame_without_prints_is_left_as_it_is(seed: int, noise: float, level: float) -> None:
    pixels = blurred(seed, noise, level)
    look = seen(pixels)
    assert look.masked < 0.03
    if not look.why:
        assert look.pixels is pixels


@pytest.mark.parametrize(
    ("specimen", "magnification"),
    [("tin_balls", 2_000), ("tem_grid", 2_000), ("gold_nanoparticles", 20_000), ("lattice", 2_000),
     ("foam", 2_000), ("sparse", 2_000), ("layers", 2_000), ("empty", 2_000)],
)  # fmt: skip
def test_a_specimen_is_no_print(specimen: str, magnification: int) -> None:
    assert seen(sharp(specimen, magnification)).masked < 0.06


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_frame_of_one_grey_is_left_to_those_who_doubt_it(value: int) -> None:
    pixels = np.full(SIZE, value, np.uint8)
    assert seen(pixels).pixels is pixels


@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 9))
def test_any_size_is_looked_at(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    assert 0.0 <= seen(pixels).masked < 1.0
