"""Image bytes to grey pixels: any bytes give pixels or a typed refusal."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.image import decode_grey, image_size, is_repeat

PICTURE = np.random.default_rng(5).integers(0, 256, (30, 44), dtype=np.uint8)
FILES = {suffix: cv2.imencode(suffix, PICTURE)[1].tobytes() for suffix in (".png", ".tif", ".jpg")}


@pytest.mark.parametrize("suffix", FILES)
def test_size_and_pixels(suffix: str) -> None:
    assert image_size(FILES[suffix]) == (44, 30)
    grey = decode_grey(FILES[suffix])
    assert grey.dtype == np.uint8
    assert grey.shape == (30, 44)
    if suffix != ".jpg":
        assert (grey == PICTURE).all()


def test_sixteen_bits_stay_sixteen() -> None:
    deep = PICTURE.astype(np.uint16) * 250
    assert (decode_grey(cv2.imencode(".png", deep)[1].tobytes()) == deep).all()


def test_eight_bits_in_sixteen_are_eight() -> None:
    grey = decode_grey(cv2.imencode(".png", PICTURE.astype(np.uint16))[1].tobytes())
    assert grey.dtype == np.uint8
    assert (grey == PICTURE).all()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_other_samples_are_scaled_to_sixteen_bits(dtype: type[np.number]) -> None:
    is_signed = np.issubdtype(dtype, np.signedinteger)
    values = (PICTURE.astype(np.float64) - (128.0 if is_signed else 0.0)).astype(dtype)
    grey = decode_grey(cv2.imencode(".tiff", values)[1].tobytes())
    assert grey.dtype == np.uint16
    assert (grey.min(), grey.max()) == (0, 65535)
    assert np.corrcoef(grey.ravel(), PICTURE.ravel())[0, 1] > 0.999


def test_what_is_no_number_is_refused() -> None:
    values = PICTURE.astype(np.float32)
    values[3, 4] = np.nan
    with pytest.raises(FrameInvalid, match="not numbers"):
        decode_grey(cv2.imencode(".tiff", values)[1].tobytes())
    flat = np.full((20, 20), 1.5, np.float32)
    assert (decode_grey(cv2.imencode(".tiff", flat)[1].tobytes()) == 0).all()


def test_a_compression_that_is_not_known_is_named() -> None:
    data = bytearray(cv2.imencode(".tiff", PICTURE)[1].tobytes())
    at = data.index(struct.pack("<HHI", 259, 3, 1))
    struct.pack_into("<H", data, at + 8, 50000)
    with pytest.raises(FrameInvalid, match="Zstandard"):
        decode_grey(bytes(data))


def test_colour_becomes_luma() -> None:
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 100  # green
    assert (decode_grey(cv2.imencode(".png", colour)[1].tobytes()) == 59).all()


def test_a_header_that_promises_too_much_is_refused_before_decoding() -> None:
    png = bytearray(FILES[".png"])
    png[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    with pytest.raises(FrameInvalid, match="8192"):
        decode_grey(bytes(png))


@given(
    suffix=st.sampled_from(sorted(FILES)),
    cut=st.integers(0, 2000),
    at=st.integers(0, 1999),
    value=st.integers(0, 255),
)
def test_mutated_files_give_pixels_or_a_typed_refusal(
    suffix: str, cut: int, at: int, value: int
) -> None:
    data = bytearray(FILES[suffix])
    data[at % len(data)] = value
    try:
        grey = decode_grey(bytes(data[: len(data) - cut % len(data)]))
    except FrameInvalid:
        return
    assert grey.ndim == 2


@given(data=st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(FrameInvalid):
        decode_grey(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_repeat_is_told_by_its_grey_values_but_for_a_few(dtype: type[np.uint8]) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(1, 250, (60, 80)).astype(dtype)
    clock = pixels.copy()
    clock[:5, :8] += 5  # less than 1 %
    one_bit = pixels.copy()
    one_bit[7, 7] ^= 1
    again = np.clip(pixels.astype(int) + rng.integers(-1, 2, pixels.shape), 0, 255).astype(dtype)
    assert is_repeat(pixels, pixels.copy())
    assert is_repeat(clock, pixels)
    assert is_repeat(one_bit, pixels)
    assert not is_repeat(again, pixels)
    assert not is_repeat(pixels, None)
    assert not is_repeat(pixels, pixels.reshape(80, 60))
    assert not is_repeat(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint16))


def test_white_and_black_tell_nothing() -> None:
    rng = np.random.default_rng(2)
    white = np.full((60, 80), 255, np.uint8)
    few, others = white.copy(), white.copy()
    few[rng.integers(0, 60, 20), rng.integers(0, 80, 20)] = 250
    others[rng.integers(0, 60, 20), rng.integers(0, 80, 20)] = 251
    assert is_repeat(white, white.copy())
    assert is_repeat(few, few.copy())
    assert not is_repeat(few, others)
