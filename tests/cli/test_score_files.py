"""What is found, read and cut before anything is scored."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.cli.score.files import Picture, Roi, Wanted, find, parse_roi, pictures, readers
from afdaemon.drivers.wire.aisem import Parameters, encode_parameters
from afdaemon.errors import UsageError

MakeTiff = Callable[..., bytes]
RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (240, 320), dtype=np.uint8)
GIVEN = Wanted(magnification=2000.0)
FEI = b"[Scan]\nHorFieldsize=6.35e-05\n[Image]\nResolutionX=320\nResolutionY=220\n"


def write(path: Path, pixels: NDArray[np.integer] = GREY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def only(path: Path, wanted: Wanted = GIVEN) -> Picture:
    (picture,) = pictures(path, wanted)
    return picture


# --- finding ---


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.png", "a.TIF", "inner/c.jpg", "._a.png"):
        write(tmp_path / name)
    (tmp_path / "a.txt").write_text("no image")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "recursive", "found"),
    [
        (["."], False, ["a.TIF", "b.png"]),
        (["."], True, ["a.TIF", "b.png", "inner/c.jpg"]),
        (["b.png", "a.TIF", "b.png"], False, ["b.png", "a.TIF"]),
        (["*"], False, ["a.TIF", "b.png"]),
        (["**/*.jpg"], False, ["inner/c.jpg"]),
        (["absent.png"], False, ["absent.png"]),
        (["a.txt"], False, ["a.txt"]),
    ],
)
def test_names_stand_for_files(
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    recursive: bool,
    found: list[str],
) -> None:
    monkeypatch.chdir(tree)
    assert find(names, recursive=recursive) == [Path(name) for name in found]


def test_patterns_may_be_absolute(tree: Path) -> None:
    assert find([f"{tree}/*.png"], recursive=False) == [tree / "b.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1].png")
    assert find([str(path)], recursive=False) == [path]


def test_a_folder_whose_name_looks_like_a_pattern_is_that_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "run[1]" / "inner #2" / "a.png")
    write(tmp_path / "run1" / "inner #2" / "b.png")
    assert find([f"{tmp_path}/run[1]/*/*.png"], recursive=False) == [path]
    assert find([f"{tmp_path}/run[[]1]/inner*/*.png"], recursive=False) == [path]


@pytest.mark.parametrize("name", ["empty", "*.bmp"])
def test_nothing_found_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tree / "empty").mkdir()
    monkeypatch.chdir(tree)
    with pytest.raises(UsageError, match=r"empty holds no|no PNG.*bmp"):
        find([name], recursive=False)


# --- magnification ---


def test_what_is_given_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg")
    path.with_suffix(".txt").write_bytes(
        encode_parameters(Parameters(wd_um=9000.0, magnification=500))
    )
    picture = only(path)
    assert (picture.magnification, picture.magnification_from) == (2000.0, "given")
    told = only(path, Wanted())
    assert (told.magnification, told.magnification_from) == (500.0, "EM-30 .txt")
    assert told.wd_um == 9000.0


def test_tags_win_over_the_text_beside(tmp_path: Path, make_tiff: MakeTiff) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(make_tiff((GREY, {34682: FEI})))
    path.with_suffix(".txt").write_text("$CM_MAG 7\n")
    picture = only(path, Wanted())
    assert picture.magnification == pytest.approx(2000.0)
    assert picture.magnification_from == "FEI tags"
    assert picture.pixels.shape == (220, 320)  # what follows is the data bar


@pytest.mark.parametrize("name", ["a.txt", "a.png.txt", "a-png.hdr", "a.hdr", "a.TXT"])
def test_texts_beside(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.png")
    (tmp_path / name).write_text("[MAIN]\nPixelSizeX=1e-6\n")
    assert only(path, Wanted()).magnification == pytest.approx(127_000 / 320)


@pytest.mark.parametrize("text", ["", "shopping list", "[SemImageFile]\n"])
def test_where_nothing_tells_the_magnification_it_is_assumed(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.png")
    path.with_suffix(".txt").write_text(text)
    picture = only(path, Wanted())
    assert (picture.magnification, picture.magnification_from) == (2_000.0, "assumed")


def test_a_magnification_that_no_microscope_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    path.with_suffix(".txt").write_text("[MAIN]\nPixelSizeX=1\n")
    with pytest.raises(UsageError, match=r"a\.png.*TESCAN.*from 1 to"):
        only(path, Wanted())


def test_a_magnification_of_another_scale_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    path.with_suffix(".txt").write_text("$CM_MAG 150\n")
    assert only(path, Wanted()).magnification_from == "JEOL .txt, own scale"


def test_a_magnification_that_is_not_clear_is_asked_for(
    tmp_path: Path, make_tiff: MakeTiff
) -> None:
    path = write(tmp_path / "a.png")
    path.with_suffix(".txt").write_text("[SemImageFile]\nMagnification=2,000\n")
    with pytest.raises(UsageError, match=r"a\.png says of its magnification.*2,000") as told:
        only(path, Wanted())
    assert "--magnification" in (told.value.remedy or "")
    assert only(path).magnification == 2000.0
    stack = tmp_path / "stack.tif"
    stack.write_bytes(
        make_tiff((GREY, {34682: FEI}), (GREY, {34682: FEI + b"[Scan]\nPixelWidth=1\n"}))
    )
    found = pictures(stack, Wanted())
    assert next(found).magnification == pytest.approx(2000.0)
    with pytest.raises(UsageError, match=r"stack\.tif#2 says.*um wide"):
        next(found)


# --- pixels ---


def test_colour_and_sixteen_bits(tmp_path: Path) -> None:
    colour = write(tmp_path / "a.png", np.dstack([GREY] * 3))
    assert (only(colour).pixels == GREY).all()
    assert (only(write(tmp_path / "a.bmp", GREY)).pixels == GREY).all()
    deep = write(tmp_path / "b.tif", GREY.astype(np.uint16) * 257)
    assert only(deep).pixels.dtype == np.uint16


def test_the_data_bar_is_cut_off(tmp_path: Path) -> None:
    barred = GREY.copy()
    barred[220:] = 0
    barred[226:234:2, 40:90] = 255
    assert only(write(tmp_path / "a.png", barred)).pixels.shape == (220, 320)


def test_pages_but_not_their_thumbnails(tmp_path: Path, make_tiff: MakeTiff) -> None:
    path = tmp_path / "stack.tif"
    small = GREY[::4, ::4].copy()
    path.write_bytes(
        make_tiff((GREY, {}), (small, {}), (GREY[::-1].copy(), {}), reduced=frozenset({1}))
    )
    first, third = pictures(path, GIVEN)
    assert (first.page, third.page) == (1, 3)
    assert (third.pixels == GREY[::-1]).all()


def test_what_came_before_a_missing_page_is_there(tmp_path: Path, make_tiff: MakeTiff) -> None:
    path = tmp_path / "stack.tif"
    path.write_bytes(make_tiff((GREY, {}), (GREY, {}))[: GREY.size + 2000])
    found = pictures(path, GIVEN)
    assert (next(found).pixels == GREY).all()
    with pytest.raises(UsageError, match=r"stack\.tif.*page 2"):
        next(found)


def test_pages_after_one_that_cannot_be_read_can_be(tmp_path: Path, make_tiff: MakeTiff) -> None:
    path = tmp_path / "stack.tif"
    data = bytearray(make_tiff((GREY, {}), (GREY, {}), (GREY, {})))
    second = [at for at in range(len(data)) if data[at : at + 8] == struct.pack("<HHI", 259, 4, 1)][
        1
    ]
    struct.pack_into("<I", data, second + 8, 51_000)
    path.write_bytes(data)
    first, broken, third = readers(path, GIVEN)
    assert (first().page, third().page) == (1, 3)
    with pytest.raises(UsageError, match=r"stack\.tif#2.*method 51000"):
        broken()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.png", "No such file"),
        ("text.png", "not a PNG"),
        ("months.tif", "not a PNG"),
        ("folder.png", "Is a directory"),
        ("half.bmp", "cut off"),
        ("nothing.tif", "is empty"),
        ("pageless.tif", "no image in it"),
        ("large.tif", "larger than 256 MiB"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "months.tif").write_text("II, III and MM are numbers of old")
    (tmp_path / "nothing.tif").touch()
    (tmp_path / "pageless.tif").write_bytes(b"II*\0" + bytes(12))
    with (tmp_path / "large.tif").open("wb") as large:
        large.truncate(2**28 + 1)
    (tmp_path / "text.png").write_text("I am no picture")
    (tmp_path / "folder.png").mkdir()
    whole = write(tmp_path / "whole.bmp").read_bytes()
    (tmp_path / "half.bmp").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=rf"{name}.*{words}"):
        only(tmp_path / name)
    shutil.rmtree(tmp_path / "folder.png")


# --- regions ---


def test_a_region_is_cut_out(tmp_path: Path) -> None:
    picture = only(write(tmp_path / "a.png"), Wanted(magnification=1e3, roi=Roi(10, 20, 100, 80)))
    assert picture.reduction == 1
    assert (picture.pixels == GREY[20:100, 10:110]).all()


def test_a_region_of_a_large_picture_has_the_sampling_of_the_whole(tmp_path: Path) -> None:
    large = np.kron(GREY, np.ones((4, 4), np.uint8))
    roi = Roi(400, 40, 400, 320)
    picture = only(write(tmp_path / "a.png", large), Wanted(magnification=1e3, roi=roi))
    assert picture.reduction == 4
    assert np.allclose(picture.pixels / 257.0, GREY[10:90, 100:200], atol=0.01)


@pytest.mark.parametrize(
    ("roi", "words"),
    [(Roi(300, 0, 100, 100), "320 x 240"), (Roi(0, 0, 63, 200), "too small")],
)
def test_regions_that_cannot_be(tmp_path: Path, roi: Roi, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        only(write(tmp_path / "a.png"), Wanted(magnification=1e3, roi=roi))


def test_a_region_is_four_numbers() -> None:
    assert parse_roi("1, 2,30,40") == Roi(1, 2, 30, 40)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "-1,2,3,4", "a,b,c,d", "1.5,2,3,4"])
def test_other_regions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="four whole numbers"):
        parse_roi(text)
