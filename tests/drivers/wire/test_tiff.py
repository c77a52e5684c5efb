"""The directories of a TIFF: any bytes give pages or a typed refusal."""

import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire import tiff
from afdaemon.drivers.wire.image import decode_grey

MakeTiff = Callable[..., bytes]
RNG = np.random.default_rng(3)
FIRST = RNG.integers(0, 256, (30, 44), dtype=np.uint8)
SECOND = RNG.integers(0, 65536, (20, 25), dtype=np.uint16)
TEXT = b"MAG tells nothing here"


@pytest.fixture(scope="module")
def two_pages(make_tiff: MakeTiff) -> bytes:
    return make_tiff((FIRST, {34682: TEXT}), (SECOND, {}))


def test_pages_tell_sizes_and_texts(two_pages: bytes) -> None:
    first, second = tiff.pages(two_pages)
    assert (first.width_px, first.height_px, second.width_px, second.height_px) == (44, 30, 25, 20)
    assert first.text(two_pages, 34682) == TEXT
    assert second.text(two_pages, 34682) is None


def test_each_page_decodes_by_itself(two_pages: bytes) -> None:
    first, second = tiff.pages(two_pages)
    assert (decode_grey(tiff.only(two_pages, first)) == FIRST).all()
    assert (decode_grey(tiff.only(two_pages, second)) == SECOND).all()


def test_reduced_copies_are_known(make_tiff: MakeTiff) -> None:
    data = make_tiff((FIRST, {}), (FIRST[::2, ::2].copy(), {}), reduced=frozenset({1}))
    assert [page.reduced for page in tiff.pages(data)] == [False, True]


@pytest.mark.parametrize(("order", "mark"), [("<", b"II"), (">", b"MM")])
def test_big_tiffs_of_either_order(order: str, mark: bytes) -> None:
    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack(f"{order}HHQQ", tag, kind, count, value)

    header = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
    directory = struct.pack(f"{order}Q", 3) + entry(256, 16, 1, 70) + entry(257, 16, 1, 50)
    directory += entry(50431, 2, 9, 16 + 8 + 60 + 8) + struct.pack(f"{order}Q", 0)
    data = header + directory + b"nine long"
    (page,) = tiff.pages(data)
    assert (page.width_px, page.height_px, page.text(data, 50431)) == (70, 50, b"nine long")
    assert struct.unpack_from(f"{order}Q", tiff.only(data, page), 8) == (16,)


def test_what_opencv_writes_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tiff") / "stack.tif"
    assert cv2.imwritemulti(str(path), [FIRST, FIRST[:, ::-1]])
    data = path.read_bytes()
    found = [decode_grey(tiff.only(data, page)) for page in tiff.pages(data)]
    assert (found[1] == FIRST[:, ::-1]).all()


def test_a_chain_that_bites_its_tail_ends(two_pages: bytes) -> None:
    first, second = tiff.pages(two_pages)
    looped = two_pages[:-4] + struct.pack("<I", first.at)
    assert list(tiff.pages(looped)) == [first, second]


def test_a_missing_page_is_told_after_those_that_are_there(two_pages: bytes) -> None:
    _, second = tiff.pages(two_pages)
    found = tiff.pages(two_pages[: second.at])
    assert next(found).width_px == 44
    with pytest.raises(FrameInvalid, match="page 2"):
        next(found)


@pytest.mark.parametrize("offset", [2**31, 2**63, 2**64 - 1])
def test_offsets_beyond_the_file_are_refused(offset: int) -> None:
    data = b"II" + struct.pack("<HHHQ", 43, 8, 0, offset) + bytes(64)
    with pytest.raises(FrameInvalid, match="cut off"):
        list(tiff.pages(data))


@given(at=st.integers(0, 3000), value=st.integers(0, 255), cut=st.integers(0, 3000))
def test_mutated_files_give_pages_or_a_typed_refusal(
    make_tiff: MakeTiff, at: int, value: int, cut: int
) -> None:
    data = bytearray(make_tiff((FIRST[:10, :10].copy(), {34682: TEXT}), (SECOND, {})))
    data[at % len(data)] = value
    left = bytes(data[: len(data) - cut % len(data)])
    if not tiff.is_tiff(left):
        return
    try:
        texts = [page.text(left, 34682) for page in tiff.pages(left)]
    except FrameInvalid:
        return
    assert all(text is None or len(text) <= len(left) for text in texts)
