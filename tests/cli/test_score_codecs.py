"""TIFFs of every kind: each gives its own grey values, or says truly why not."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from afdaemon.cli.score import codecs
from afdaemon.cli.score.codecs import CodecMissing, odd_tiff
from afdaemon.cli.score.files import Wanted, pictures
from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire import tiff
from afdaemon.drivers.wire.image import GreyPixels, decode_grey
from afdaemon.errors import UsageError

GREY = np.random.default_rng(3).integers(0, 256, (96, 128), dtype=np.uint8)
RGB = np.stack([GREY, GREY // 2, GREY // 3], axis=-1)
PLANES = np.moveaxis(RGB, -1, 0).copy()
LUMA = np.rint(RGB @ np.array([0.299, 0.587, 0.114]))
PALETTE = np.stack([np.arange(256)[::-1] * 257] * 3).astype(np.uint16)
WITH_ALPHA: dict[str, Any] = {
    "photometric": "minisblack",
    "planarconfig": "contig",
    "extrasamples": [2],
}
IN_PLANES = {"photometric": "rgb", "planarconfig": "separate"}


def written(pixels: NDArray[np.generic], **how: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **how)
    return file.getvalue()


def is_alike(read: GreyPixels, meant: NDArray[np.generic]) -> bool:
    """Whether it is the same picture, the right way round, but for scale and rounding."""
    assert read.shape == meant.shape
    greys = (read.astype(np.float64), meant.astype(np.float64))
    one, other = ((grey - grey.mean()) / grey.std() for grey in greys)
    return float(np.mean(one * other)) > 0.999


COMMON = {
    "plain": written(GREY),
    "big-endian": written(GREY, byteorder=">"),
    "BigTIFF": written(GREY, bigtiff=True),
    "big-endian BigTIFF": written(GREY.astype(np.uint16) * 9, bigtiff=True, byteorder=">"),
    "tiles": written(GREY, tile=(64, 64)),
    "strips": written(GREY, rowsperstrip=7),
    "LZW": written(GREY, compression="lzw", predictor=True),
    "deflate": written(GREY.astype(np.uint16) * 9, compression="zlib", predictor=True),
    "PackBits": written(GREY, compression="packbits"),
    "12 bit": written(GREY.astype(np.uint16) * 16, bitspersample=12),
    "negative": written(255 - GREY, photometric="miniswhite"),
    "negative of 16 bit": written((255 - GREY).astype(np.uint16) * 257, photometric="miniswhite"),
    "negative of floats": written(255.0 - GREY.astype(np.float32), photometric="miniswhite"),
    "palette": written(255 - GREY, photometric="palette", colormap=PALETTE),
    "alpha": written(np.stack([GREY, 255 - GREY], -1), **WITH_ALPHA),
}
ODD = {
    "Zstandard": written(GREY, compression="zstd"),
    "Zstandard of 16 bit": written(GREY.astype(np.uint16) * 9, compression="zstd", predictor=True),
    "LZMA": written(GREY, compression="lzma"),
    "JPEG 2000": written(GREY, compression="jpeg2000"),
    "JPEG XL": written(GREY, compression="jpegxl"),
    "LERC": written(GREY, compression="lerc"),
    "negative Zstandard": written(255 - GREY, compression="zstd", photometric="miniswhite"),
    "palette, Zstandard": written(
        255 - GREY, compression="zstd", photometric="palette", colormap=PALETTE
    ),
    "16 bit floats": written(GREY.astype(np.float16)),
    "16 bit alpha": written(np.stack([GREY, 255 - GREY], -1).astype(np.uint16), **WITH_ALPHA),
}
IN_COLOUR = {
    "RGB": written(RGB, photometric="rgb"),
    "big-endian RGB": written(RGB.astype(np.uint16), photometric="rgb", byteorder=">"),
    "planes": written(PLANES, **IN_PLANES),
    "planes of 16 bit": written(PLANES.astype(np.uint16) * 9, **IN_PLANES),
    "planes of floats": written(PLANES.astype(np.float32), **IN_PLANES),
    "Zstandard": written(RGB, compression="zstd", photometric="rgb"),
}
NOT_READ = {
    "complex": (written(GREY.astype(np.complex64)), "complex numbers"),
    "layers": (
        written(np.stack([GREY] * 2), photometric="minisblack", volumetric=True, tile=(2, 32, 32)),
        "more than one layer",
    ),
    "five detectors": (
        written(np.stack([GREY] * 5, -1), photometric="minisblack", planarconfig="contig"),
        "5 samples of 8 bit",
    ),
    "inks": (written(np.dstack([RGB, GREY]), photometric="separated"), "4 samples of 8 bit"),
}


@pytest.mark.parametrize("kind", COMMON)
def test_common_ones_need_no_other_library(kind: str) -> None:
    assert is_alike(decode_grey(COMMON[kind]), GREY)


@pytest.mark.parametrize("kind", ODD)
def test_odd_ones_are_read_with_the_libraries(kind: str) -> None:
    assert is_alike(decode_grey(ODD[kind], odd_tiff), GREY)


@pytest.mark.parametrize("kind", ODD)
def test_without_them_they_are_refused_and_never_misread(kind: str) -> None:
    (page,) = tiff.pages(ODD[kind])
    with pytest.raises(FrameInvalid, match="which is not read here") as told:
        decode_grey(ODD[kind])
    assert page.oddity in str(told.value)


@pytest.mark.parametrize("kind", IN_COLOUR)
def test_colours_become_luma(kind: str) -> None:
    assert is_alike(decode_grey(IN_COLOUR[kind], odd_tiff), LUMA)


@pytest.mark.parametrize(("bits", "pixels"), [(4, GREY >> 4), (2, GREY >> 6)])
def test_few_bits_are_spread_over_eight(bits: int, pixels: NDArray[np.uint8]) -> None:
    grey = decode_grey(written(pixels, bitspersample=bits), odd_tiff)
    assert (grey == pixels * (255 // (2**bits - 1))).all()


def test_one_bit_is_black_and_white() -> None:
    for colour in ("minisblack", "miniswhite"):
        grey = decode_grey(written(GREY > 128, photometric=colour))
        assert (grey == 255 * ((GREY > 128) == (colour == "minisblack"))).all()


@pytest.mark.parametrize("kind", NOT_READ)
def test_what_is_no_picture_is_named(kind: str) -> None:
    data, words = NOT_READ[kind]
    with pytest.raises(FrameInvalid, match=words):
        decode_grey(data, odd_tiff)


@pytest.mark.parametrize("kind", [*COMMON, "Zstandard", "LZMA", "16 bit floats"])
@pytest.mark.parametrize("left", [0.5, 0.95])
def test_those_cut_off_are_refused(kind: str, left: float) -> None:
    data = COMMON.get(kind) or ODD[kind]
    with pytest.raises(FrameInvalid, match="cut off"):
        decode_grey(data[: int(left * len(data))], odd_tiff)


@pytest.mark.parametrize("at", range(200, 4000, 400))
def test_damaged_ones_give_pixels_or_a_typed_refusal(at: int) -> None:
    for data in ODD.values():
        damaged = bytearray(data)
        damaged[at % len(data)] ^= 0x55
        damaged[8 + at // 20] ^= 0x11  # in the directory
        try:
            grey = decode_grey(bytes(damaged), odd_tiff)
        except FrameInvalid:
            continue
        assert grey.ndim == 2


def test_the_remedy_is_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(ODD["Zstandard"])
    assert next(pictures(path, Wanted())).pixels.shape == GREY.shape
    monkeypatch.setattr(codecs, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"a\.tif.*packed with Zstandard.*imagecodecs") as told:
        next(pictures(path, Wanted()))
    assert told.value.remedy == CodecMissing.remedy
    assert "afdaemon[images]" in CodecMissing.remedy


def test_more_samples_than_any_picture_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_MOST_BYTES", GREY.size - 1)
    with pytest.raises(FrameInvalid, match="GiB of samples"):
        decode_grey(ODD["Zstandard"], odd_tiff)
