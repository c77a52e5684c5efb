"""What a frame must be to count, as a rule over all frames."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.em30.evidence import Cause, Wanted, decode, objection
from afdaemon.drivers.errors import FrameInvalid, OverCap
from afdaemon.drivers.wire.image import GreyPixels, is_repeat
from afdaemon.drivers.wire.messages import Encoding, FrameData

FRAME = FrameData(
    answers=1,
    number=5,
    width_px=2,
    height_px=2,
    bits=8,
    encoding=Encoding.RAW,
    magnification=2000.0,
    wd_um=12_000.0,
    pixel_nm=198.4,
    dwell_ns=400.0,
    kv=15.0,
    start_us=1000,
    end_us=2000,
    data=b"abcd",
)
LAST = st.sampled_from((None, decode(FRAME), decode(FRAME)[:, :1]))


@given(
    wd_um=st.none() | st.floats(11_990.0, 12_010.0),
    magnification=st.none() | st.sampled_from((1970.0, 1985.0, 2000.0, 2001.0, 2030.0)),
    from_us=st.integers(900, 1100),
    above_number=st.none() | st.integers(3, 7),
    last=LAST,
)
def test_a_frame_counts_exactly_when_nothing_speaks_against_it(
    wd_um: float | None,
    magnification: float | None,
    from_us: int,
    above_number: int | None,
    last: GreyPixels | None,
) -> None:
    wanted = Wanted(
        wd_um=wd_um,
        magnification=magnification,
        wd_tolerance_um=2.0,
        from_us=from_us,
        above_number=above_number,
        last=last,
    )
    found = objection(FRAME, decode(FRAME), wanted)
    good = {
        Cause.STALE: from_us <= 1000 and (above_number is None or above_number < 5),
        Cause.MISMATCH: (wd_um is None or abs(wd_um - 12_000.0) <= 2.1)
        and (magnification is None or abs(magnification - 2000.0) <= 20.3),
        Cause.FROZEN: last is None or last.shape != (2, 2),
    }
    if found is None:
        assert all(good.values())
    else:
        assert not good[found.cause]
        assert found.why.startswith(("it ", "its "))


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_a_small_picture_is_repeated_exactly_when_it_is_the_same(one: bytes, two: bytes) -> None:
    first, second = decode(replace(FRAME, data=one)), decode(replace(FRAME, data=two))
    assert is_repeat(first, second) == np.array_equal(first, second)


@given(st.lists(st.integers(0, 65535), min_size=6, max_size=6))
def test_sixteen_bits_are_little_endian(values: list[int]) -> None:
    data = np.array(values, "<u2").tobytes()
    pixels = decode(replace(FRAME, width_px=3, bits=16, data=data))
    assert pixels.shape == (2, 3)
    assert pixels.dtype == np.uint16
    assert pixels.ravel().tolist() == values
    assert not pixels.flags.writeable


@given(st.binary(max_size=100))
def test_what_is_no_jpeg_is_invalid(data: bytes) -> None:
    with pytest.raises(FrameInvalid):
        decode(replace(FRAME, encoding=Encoding.JPEG, data=b"\xff\xd8" + data + b"\xff\xd9"))


def test_a_jpeg_that_claims_to_be_huge_is_not_decoded() -> None:
    size = b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xd9"
    with pytest.raises(OverCap, match="65535 x 65535"):
        decode(replace(FRAME, encoding=Encoding.JPEG, data=size))
