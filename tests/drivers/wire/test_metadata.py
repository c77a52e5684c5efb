"""Magnification and data bar as the makers' tags and texts tell them, on the one scale of 127 mm."""

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire import tiff
from afdaemon.drivers.wire.aisem import Parameters, encode_parameters
from afdaemon.drivers.wire.metadata import Metadata, Size, from_page, from_text

MakeTiff = Callable[..., bytes]
PIXELS: NDArray[np.uint8] = np.zeros((471, 512), np.uint8)
SIZE = Size(512, 471)
FIELD_UM = 1726.67

FEI = (
    b"[User]\r\nDate=01/02/2020\r\n[Beam]\r\nBeam=EBeam\r\nScan=EScan\r\n[IBeam]\r\nHFW=0.1\r\n"
    b"[EBeam]\r\nHFW=0.0017\r\n[EScan]\r\nPixelWidth=3.3724e-006\r\nHorFieldsize=0.00172667\r\n"
    b"[Image]\r\nResolutionX=512\r\nResolutionY=442\r\n[PrivateFei]\r\nDatabarHeight=29\r\n"
)
ZEISS = (
    "\r\n0\r\n2.6e-6\r\nAP_MAG\r\nMag =  50.00 K X\r\nAP_HOLDER_WIDTH\r\nHolder Width = 1.0 mm\r\n"
    "AP_PIXEL_SIZE\r\nPixel Size = 5.825 nm\r\nAP_WIDTH\r\nWidth = 5.965 µm\r\n"
)
TESCAN = (
    b"\x10\0\0\0\1\0\xff\xd8thumb\xff\xd9\x60\0\0\0\2\0AccFrames=1\nImageStripSize=29\n"
    b"Magnification=9000\nPixelSizeX=2.0e-7\nPixelSizeY=2.0e-7\n\x20\0\0\0\3\0HV=15000\n"
)
JEOL = (
    "$CM_FORMAT JEOL/SEM\r\n$CM_MAG 5000\r\n$CM_FULL_SIZE 512 442\r\n"
    "$$SM_MICRON_BAR 64\r\n$$SM_MICRON_MARKER 5um\r\n"
)
HITACHI = (
    "[SemImageFile]\r\nInstructName=SU8000\r\nMagnification=4000\r\nDataSize=1024x884\r\n"
    "PixelSize=24.8 nm\r\n"
)


FEI_XML = """\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>
<Metadata xmlns:nil="http://schemas.fei.com/Metadata/v1/2013/07"><Core><Guid>1</Guid></Core>
<Optics><ScanFieldOfView><X unit="m" unitPrefixPower="1">0.00207</X></ScanFieldOfView></Optics>
<BinaryResult><ImageSize><X>512</X><Y>442</Y></ImageSize>
<PixelSize><X unit="m" unitPrefixPower="1">3.3724E-06</X><Y unit="m">3.3E-06</Y></PixelSize>
</BinaryResult></Metadata>\r\n\0""".encode("latin-1")


def of_tag(make_tiff: MakeTiff, tag: int, text: bytes) -> Metadata | None:
    data = make_tiff((PIXELS, {tag: text}))
    (page,) = tiff.pages(data)
    return from_page(page, data)


@pytest.mark.parametrize("tag", [34680, 34682])
def test_fei_tells_the_field_of_the_beam_in_use(make_tiff: MakeTiff, tag: int) -> None:
    told = of_tag(make_tiff, tag, FEI)
    assert told is not None
    assert told.field_width_um == pytest.approx(FIELD_UM)
    assert (told.maker, told.picture_px) == ("FEI", 442)


def test_fei_with_decimal_commas(make_tiff: MakeTiff) -> None:
    text = b"[System]\nChPressure=1,5\n" + FEI.replace(b".", b",")
    told = of_tag(make_tiff, 34682, text)
    assert told is not None
    assert told.field_width_um == pytest.approx(FIELD_UM)


def test_the_xml_of_a_helios_tells_the_field_of_the_picture(make_tiff: MakeTiff) -> None:
    told = of_tag(make_tiff, 34683, FEI_XML)
    assert told is not None
    assert told.field_width_um == pytest.approx(FIELD_UM, rel=1e-4)
    assert (told.maker, told.picture_px) == ("FEI", 442)
    without = FEI_XML.replace(b"ImageSize", b"Size")
    told = of_tag(make_tiff, 34683, without)
    assert told is not None
    assert told.field_width_um == pytest.approx(2070.0)


@pytest.mark.parametrize(
    "text",
    [b"<Metadata><Optics>", b"no XML at all", b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + FEI_XML, b"<a/>"],
)
def test_xml_that_tells_nothing(make_tiff: MakeTiff, text: bytes) -> None:
    assert of_tag(make_tiff, 34683, text) is None


def test_xml_in_a_unit_of_some_other_kind_is_refused(make_tiff: MakeTiff) -> None:
    for text in (b'unit="1/m" unitPrefixPower="1"', b'unit="m" unitPrefixPower="-9"'):
        with pytest.raises(ProtocolError, match="PixelSize"):
            of_tag(
                make_tiff, 34683, FEI_XML.replace(b'unit="m" unitPrefixPower="1">3', text + b">3")
            )


@given(at=st.integers(0, len(FEI_XML) - 1), value=st.integers(0, 255), cut=st.integers(0, 600))
def test_mutated_xml_gives_a_usable_number_nothing_or_a_refusal(
    make_tiff: MakeTiff, at: int, value: int, cut: int
) -> None:
    text = bytearray(FEI_XML)
    text[at] = value
    try:
        told = of_tag(make_tiff, 34683, bytes(text[: max(8, len(text) - cut)]))
    except ProtocolError:
        return
    assert told is None or 0.0 < (told.field_width_um or 0.0) < math.inf


def sis(power: int, pixel: float, magnification: float, at: int) -> bytes:
    """As tifffile and Bio-Formats read it: a head, an entry of an unknown kind, one of kind 1."""
    head = struct.pack("<4s6x10x6x32sH", b"SIS0", b"a picture", 2)
    entries = struct.pack("<hhIhhI", 10, 0, 0, 1, 0, at + len(head) + 16)
    return head + entries + struct.pack("<10xhdd8xd", power, pixel, pixel, magnification)


def of_sis(make_tiff: MakeTiff, block: Callable[[int], bytes]) -> Metadata | None:
    data = bytearray(make_tiff((PIXELS, {305: b"analySIS 3.2"})))
    at = data.index(struct.pack("<HH", 305, 2))
    struct.pack_into("<HHII", data, at, tiff.SIS, 4, 1, len(data))
    data += block(len(data))
    (page,) = tiff.pages(bytes(data))
    return from_page(page, bytes(data))


@pytest.mark.parametrize(("power", "pixel"), [(-9, 10.81), (-6, 0.01081), (0, 1.081e-8)])
def test_sis_tells_the_size_of_a_pixel(make_tiff: MakeTiff, power: int, pixel: float) -> None:
    told = of_sis(make_tiff, lambda at: sis(power, pixel, 60.0, at))
    assert told is not None
    assert (told.maker, told.picture_px) == ("SIS", None)
    assert told.field_width_um == pytest.approx(0.01081 * 512)


def test_sis_without_a_size_has_a_magnification(make_tiff: MakeTiff) -> None:
    told = of_sis(make_tiff, lambda at: sis(-9, 0.0, 3000.0, at))
    assert told == Metadata(maker="SIS", magnification=3000.0)


@pytest.mark.parametrize("end", [0, 3, 59, 61, 70, 100])
def test_sis_cut_off_or_of_another_kind_tells_nothing(make_tiff: MakeTiff, end: int) -> None:
    assert of_sis(make_tiff, lambda at: sis(-9, 1.0, 3000.0, at)[:end]) is None
    assert of_sis(make_tiff, lambda at: b"?" + sis(-9, 1.0, 3000.0, at)[1:]) is None
    assert of_sis(make_tiff, lambda at: sis(32_000, 1.0, math.nan, at)) is None


def test_fei_without_a_field_has_its_pixels(make_tiff: MakeTiff) -> None:
    text = b"[Scan]\nPixelWidth=1e-7\n[Image]\nResolutionX=1024\nResolutionY=884\n"
    told = of_tag(make_tiff, 34682, text)
    assert told is not None
    assert told.field_width_um == pytest.approx(102.4)
    assert told.picture_px == 442  # the file is half as wide as what the text tells of


@pytest.mark.parametrize(
    ("text", "width_um"),
    [
        (ZEISS, 5.965),
        (ZEISS.replace("AP_WIDTH", "AP_X"), 5.825e-3 * 1024),
        ("\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 558.2 pm\r\n", 558.2e-6 * 512),
        ("\r\nAP_WIDTH\r\nWidth = 2.5 mm\r\n", 2500.0),
        ("\r\nAP_WIDTH\r\nWidth = 0.25 cm\r\n", 2500.0),
        ("\r\nAP_WIDTH\r\nWidth = 1 250.5 nm\r\n", 1.2505),
        ("\r\nAP_WIDTH\r\nWidth = 5.965 \u03bcm\r\n".encode().decode("latin-1"), 5.965),
        (ZEISS.replace(".", ",").replace("5,825", "5,82"), 5.965),
    ],
)
def test_zeiss(make_tiff: MakeTiff, text: str, width_um: float) -> None:
    told = of_tag(make_tiff, 34118, text.encode("latin-1"))
    assert told is not None
    assert told.maker == "Zeiss"
    assert told.field_width_um == pytest.approx(width_um)
    assert told.picture_px is None


@pytest.mark.parametrize(
    ("told_as", "magnification"), [("105 X", 105.0), ("50.00 K X", 50_000.0), ("1.5 KX", 1500.0)]
)
def test_zeiss_with_a_magnification_alone(
    make_tiff: MakeTiff, told_as: str, magnification: float
) -> None:
    told = of_tag(make_tiff, 34118, f"0\r\nAP_MAG\r\nMag = {told_as}\r\n".encode())
    assert told == Metadata(maker="Zeiss", magnification=magnification)


def test_tescan_between_binary_blocks(make_tiff: MakeTiff) -> None:
    told = of_tag(make_tiff, 50431, TESCAN)
    assert told is not None
    assert told.field_width_um == pytest.approx(0.2 * 512)
    assert (told.maker, told.picture_px) == ("TESCAN", 442)


def test_tescan_in_a_header_beside() -> None:
    told = from_text(b"[MAIN]\nImageStripSize=0\nPixelSizeX=2e-7\n[SEM]\nHV=5000\n", SIZE)
    assert told is not None
    assert (told.maker, told.picture_px) == ("TESCAN", None)
    assert told.field_width_um == pytest.approx(102.4)


def test_jeol_tells_the_length_of_its_bar() -> None:
    told = from_text(JEOL.encode(), SIZE)
    assert told is not None
    assert told.field_width_um == pytest.approx(40.0)
    assert (told.maker, told.picture_px) == ("JEOL", 442)


def test_jeol_in_the_image_description(make_tiff: MakeTiff) -> None:
    assert of_tag(make_tiff, 270, JEOL.encode()) == from_text(JEOL.encode(), SIZE)


def test_jeol_without_a_bar() -> None:
    told = from_text(b"$CM_MAG 150\n$CM_TITLE a\n", SIZE)
    assert told == Metadata(maker="JEOL", magnification=150.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "latin-1"])
def test_hitachi_tells_the_pixels_of_the_full_picture(encoding: str) -> None:
    told = from_text(HITACHI.encode(encoding), SIZE)
    assert told is not None
    assert told.field_width_um == pytest.approx(24.8e-3 * 1024)
    assert (told.maker, told.picture_px) == ("Hitachi", 442)


def test_em30() -> None:
    text = encode_parameters(Parameters(wd_um=12_400.0, magnification=2500))
    told = from_text(text, SIZE)
    assert told == Metadata(maker="EM-30", magnification=2500.0, wd_um=12_400.0)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a note of mine\n",
        b"MAG=2000\n",  # an EM-30's has a WD too
        b"[SemImageFile]\nPixelSize=\n",
        b"[SemImageFile]\nPixelSize=-3\nMagnification=0\n",
        b"[MAIN]\nPixelSizeX=nan\n",
        b"$CM_MAG big\n$$SM_MICRON_BAR 10\n$$SM_MICRON_MARKER none\n",
    ],
)
def test_texts_that_tell_nothing(text: bytes) -> None:
    assert from_text(text, SIZE) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[SemImageFile]\nMagnification=2,000\n", "magnification.*2,000"),
        (b"[SemImageFile]\nMagnification=2.000\n", "magnification.*2.000"),
        (b"[SemImageFile]\nPixelSize=24,805\nDataSize=512x442\n", "pixelsize.*24,805"),
        (b"[MAIN]\nPixelSizeX=1e999\n", "pixelsizex.*1e999"),
        (b"$$SM_MICRON_BAR 10\n$$SM_MICRON_MARKER 5 parsecs\n", "MICRON_MARKER.*5 parsecs"),
        (b"MAG=2,000\nWD=12 mm\n", "MAG cannot be read.*2,000"),
    ],
)
def test_what_may_be_two_numbers_or_none_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        from_text(text, SIZE)


@pytest.mark.parametrize(
    ("text", "magnification"),
    [("2,000\nWorkingDistance=8,25 mm", 2.0), ("2,000\nWorkingDistance=8.25 mm", 2000.0),
     ("2.000\nWorkingDistance=8,25 mm", 2000.0), ("2 000", 2000.0), ("2\u00a0000", 2000.0)],
)  # fmt: skip
def test_other_numbers_of_the_text_tell_what_a_mark_is(text: str, magnification: float) -> None:
    told = from_text(f"[SemImageFile]\nMagnification={text}\n".encode(), SIZE)
    assert told == Metadata(maker="Hitachi", magnification=magnification)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (34682, FEI.replace(b"0.00172667", b"0.00345")),
        (34118, b"\r\nAP_WIDTH\r\nWidth = 5.965 um\r\nAP_PIXEL_SIZE\r\nPixel Size = 2.9 nm\r\n"),
        (34118, b"\r\nAP_WIDTH\r\nWidth = 5 um\r\nAP_IMAGE_PIXEL_SIZE\r\nPixel Size = 5 nm\r\n"),
    ],
)
def test_widths_that_differ_are_refused(make_tiff: MakeTiff, tag: int, text: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"um wide and .* um"):
        of_tag(make_tiff, tag, text)


def test_tags_that_differ_are_refused(make_tiff: MakeTiff) -> None:
    halved = FEI_XML.replace(b"3.3724E-06", b"1.6862E-06")
    for xml, tells in ((FEI_XML, True), (halved, False)):
        data = make_tiff((PIXELS, {34682: FEI, 34683: xml}))
        (page,) = tiff.pages(data)
        if tells:
            assert from_page(page, data) is not None
        else:
            with pytest.raises(ProtocolError, match="um wide and"):
                from_page(page, data)


def test_a_page_without_such_tags_tells_nothing(make_tiff: MakeTiff) -> None:
    assert of_tag(make_tiff, 305, b"some software") is None


PARTS = st.sampled_from(
    [FEI, ZEISS.encode("latin-1"), TESCAN, JEOL.encode(), HITACHI.encode(), b"=", b"\r\n", b"1e9"]
)


@given(parts=st.lists(st.one_of(PARTS, st.binary(max_size=12)), max_size=6), cut=st.integers(0, 80))
def test_any_text_gives_a_usable_number_or_nothing(parts: list[bytes], cut: int) -> None:
    try:
        told = from_text(b"".join(parts)[cut:], SIZE)
    except ProtocolError:
        return
    if told is not None:
        for number in (told.field_width_um, told.magnification):
            assert number is None or 0.0 < number < float("inf")
        assert (told.field_width_um, told.magnification) != (None, None)
        assert told.picture_px is None or 235 < told.picture_px < 471
