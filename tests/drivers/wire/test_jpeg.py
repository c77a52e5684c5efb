import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.jpeg import decode_jpeg, jpeg_size
from afdaemon.drivers.wire.level_jump import has_level_jump


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_libjpeg_warns_of_is_damage_unless_one_says_otherwise(
    channels: int, progressive: bool
) -> None:
    data = a_jpeg(64, 48, channels=channels, progressive=progressive)
    half = len(data) // 2
    for damaged in (data[:half] + b"\xff\xd9", data[:half] + bytes(200) + data[half + 200 :]):
        with pytest.raises(FrameInvalid, match="damaged") as told:
            decode_jpeg(damaged)
        assert "accept_odd_jpegs" in told.value.remedy
        assert decode_jpeg(damaged, strict=False).shape == (48, 64)


def test_nothing_is_said_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FrameInvalid):
        decode_jpeg(SMALL[: len(SMALL) // 2] + b"\xff\xd9")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("offset", [-40.0, 30.0, 60.0])
@pytest.mark.parametrize("block_px", [(8, 8), (16, 16)])
def test_a_change_of_level_from_one_block_on_is_seen(
    offset: float, block_px: tuple[int, int]
) -> None:
    height, width = block_px
    picture = np.random.default_rng(5).normal(120.0, 8.0, (15 * height, 20 * width))
    shifted = picture.reshape(15, height, 20, width).copy()
    shifted[6, :, 8:] += offset
    shifted[7:] += offset
    damaged = shifted.reshape(picture.shape)
    assert has_level_jump(np.clip(damaged, 0, 255).astype(np.uint8), block_px)
    assert not has_level_jump(picture.astype(np.uint8), block_px)


@pytest.mark.parametrize("dy", range(1, 8))
def test_the_same_change_elsewhere_than_at_blocks_is_the_specimens(dy: int) -> None:
    picture = np.random.default_rng(6).normal(120.0, 8.0, (240, 320))
    picture[96 + dy : 104 + dy, 128:] += 40.0
    picture[104 + dy :] += 40.0
    assert not has_level_jump(picture.astype(np.uint8), (8, 8))


def test_edges_bars_and_lines_are_no_damage() -> None:
    rng = np.random.default_rng(7)
    bar, corner, line = (rng.normal(120.0, 8.0, (240, 320)) for _ in range(3))
    bar[208:] = 20.0
    corner[104:, 160:] += 60.0
    line[104, 160:] += 60.0
    line[105:] += 60.0
    for picture in (bar, corner, line, np.full((240, 320), 128), np.zeros((240, 320))):
        assert not has_level_jump(picture.astype(np.uint8), (8, 8))


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 300), (300, 9), (40, 40)])
def test_small_pictures_show_nothing(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(8).integers(0, 256, shape, dtype=np.uint8)
    assert not has_level_jump(picture, (8, 8))


@pytest.mark.parametrize("at", [20, 100, 300])
def test_a_jpeg_that_is_not_whole_is_invalid(at: int) -> None:
    done, data = cv2.imencode(".jpg", np.zeros((24, 32), np.uint8))
    assert done
    with pytest.raises(FrameInvalid):
        decode_jpeg(data.tobytes()[:at])
