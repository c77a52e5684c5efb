import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.jpeg import decode_jpeg, jpeg_size


def a_jpeg(width: int, height: int, *, channels: int = 1, progressive: bool = False) -> bytes:
    rng = np.random.default_rng(3)
    shape = (height, width) if channels == 1 else (height, width, channels)
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])
    assert done
    return data.tobytes()


SMALL = a_jpeg(16, 24)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_size_stands_in_the_header(channels: int, progressive: bool) -> None:
    assert jpeg_size(a_jpeg(64, 48, channels=channels, progressive=progressive)) == (64, 48)


def test_zeros_behind_the_end_are_padding() -> None:
    assert jpeg_size(SMALL + bytes(100)) == (16, 24)


@given(st.integers(0, len(SMALL) - 1))
def test_every_part_of_an_image_is_refused(length: int) -> None:
    with pytest.raises(FrameInvalid):
        jpeg_size(SMALL[:length])


@given(st.binary(max_size=80), st.integers(0, 200), st.integers(0, 40))
def test_any_mutation_gives_a_size_or_a_typed_error(junk: bytes, at: int, removed: int) -> None:
    try:
        width, height = jpeg_size(SMALL[:at] + junk + SMALL[at + removed :])
    except FrameInvalid:
        return
    assert 1 <= width <= 65_535
    assert 1 <= height <= 65_535


def test_a_colour_picture_gives_its_luma_and_cannot_be_written() -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    image[..., 1] = 200
    done, data = cv2.imencode(".jpg", image)
    assert done
    pixels = decode_jpeg(data.tobytes())
    assert pixels.shape == (24, 32)
    assert abs(float(pixels.mean()) - 0.587 * 200.0) < 5.0
    assert not pixels.flags.writeable


@pytest.mark.parametrize("at", [20, 100, 300])
def test_a_jpeg_that_is_not_whole_is_invalid(at: int) -> None:
    done, data = cv2.imencode(".jpg", np.zeros((24, 32), np.uint8))
    assert done
    with pytest.raises(FrameInvalid):
        decode_jpeg(data.tobytes()[:at])
