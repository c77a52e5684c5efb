"""The pictures that `afdaemon score` judges: files found, read, stripped of their data bars, cut to a region.

One picture is held at a time. A picture's magnification comes from the command line, else from the file's tags,
else from the text beside it (`afdaemon.drivers.wire.metadata`). Where they give one that is not clear, the picture
is refused: a magnification that nobody told is assumed, but none is guessed.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from afdaemon.cli.score.codecs import CodecMissing, odd_tiff
from afdaemon.cli.score.rows import name_of
from afdaemon.drivers.errors import FrameInvalid, ProtocolError
from afdaemon.drivers.wire import tiff
from afdaemon.drivers.wire.image import MAX_FILE_BYTES, GreyPixels, decode_grey
from afdaemon.drivers.wire.metadata import (
    EM30,
    MAX_TEXT_BYTES,
    Metadata,
    Size,
    from_page,
    from_text,
)
from afdaemon.errors import UsageError
from afdaemon.grey.data_bar import without_data_bar
from afdaemon.models.frames.preprocess import MIN_SIDE_PX, reduced_grey, reduction_factor
from afdaemon.models.optics import magnification_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_MAGNIFICATION_RANGE = (1.0, 1_000_000.0)
_KINDS = "give a whole PNG, JPEG, TIFF or BMP file"
ASSUMED, ASSUMED_MAGNIFICATION = "assumed", 2_000.0
"""In the middle of what AENet was trained on. Where a file tells none, the others it might be show in the error."""
_SAY_IT = "give the one it was taken at, e.g. --magnification 2000"


@dataclass(frozen=True, slots=True)
class Roi:
    """A region of a picture, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is the same for all pictures; what is None is left to each."""

    magnification: float | None = None
    roi: Roi | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is judged. `reduction`: by how much it has been reduced already; `wd_um` if the file gives it."""

    path: Path
    page: int
    pixels: GreyPixels
    magnification: float
    magnification_from: str
    reduction: float = 1.0
    wd_um: float | None = None


def parse_roi(text: str) -> Roi:
    """`x,y,w,h` in pixels. Raises `UsageError`."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*", text)
    if found is None:
        raise UsageError(
            f"the region {text!r} is not four whole numbers of pixels",
            remedy="give left, top, width and height, e.g. --roi 100,50,320,240",
        )
    return Roi(*map(int, found.groups()))


def check_magnification(magnification: float, whose: str, remedy: str = _SAY_IT) -> None:
    """Raise `UsageError` for one that no electron microscope has."""
    low, high = _MAGNIFICATION_RANGE
    if not (math.isfinite(magnification) and low <= magnification <= high):
        raise UsageError(
            f"{whose} must be a number from {low:g} to {high:g}, got {magnification:g}",
            remedy=remedy,
        )


# --- finding ---


def find(names: Sequence[str], *, recursive: bool) -> list[Path]:
    """The files that these names stand for, each once: files, folders of images, and patterns such as `*.tif`.

    Raises:
        UsageError: a folder without images, or a pattern that no image matches.
    """
    return list(dict.fromkeys(path for name in names for path in _found(name, recursive)))


def _found(name: str, recursive: bool) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        found = _images(path.rglob("*") if recursive else path.glob("*"))
        if not found:
            raise UsageError(
                f"{path} holds no PNG, JPEG, TIFF or BMP images",
                remedy="name another folder" if recursive else "--recursive looks deeper",
            )
        return found
    if path.exists() or not re.search(r"[*?\[]", name):
        return [path]
    root = _folder_of(path)
    found = _images(root.glob(str(path.relative_to(root))))
    if not found:
        raise UsageError(
            f"no PNG, JPEG, TIFF or BMP image matches {name}", remedy="check the pattern"
        )
    return found


def _folder_of(pattern: Path) -> Path:
    """The folder in which a pattern begins: one called `run[1]` is that folder."""
    above = [folder for folder in pattern.parents if folder.is_dir()]
    return above[0] if above else Path()


def _images(paths: Iterator[Path]) -> list[Path]:
    """Visible images among them, in the order of their names."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


# --- reading ---


def readers(path: Path, wanted: Wanted) -> Iterator[Callable[[], Picture]]:
    """What reads each picture of a file when called: the only one, or the pages of a TIFF without reduced copies.

    The next can be read although one cannot.

    Raises:
        UsageError: the file, or the list of its pages from there on, cannot be read; when called: the picture cannot,
            or its magnification is impossible or not clear.
    """
    with _complaints_of(str(path)):
        data = _read(path)
        if not tiff.is_tiff(data):
            yield partial(_picture, path, data, None, wanted)
            return
        for number, page in enumerate(tiff.pages(data), 1):
            if not page.reduced or number == 1:
                yield partial(_picture, path, data, (number, page), wanted)


def pictures(path: Path, wanted: Wanted) -> Iterator[Picture]:
    """The same, read one by one up to the first that cannot be. Raises `UsageError`."""
    for read in readers(path, wanted):
        yield read()


@contextmanager
def _complaints_of(name: str) -> Iterator[None]:
    """What goes wrong inside becomes a `UsageError` that names the picture."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", remedy=_KINDS) from error
    except FrameInvalid as error:
        remedy = error.remedy if isinstance(error, CodecMissing) else _KINDS
        raise UsageError(f"{name} cannot be scored: {error}", remedy=remedy) from error
    except ProtocolError as error:
        raise UsageError(
            f"what {name} says of its magnification is not clear: {error}", remedy=_SAY_IT
        ) from error


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise FrameInvalid(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
    data = path.read_bytes()
    if not data:
        raise FrameInvalid("it is empty")
    return data


def _picture(
    path: Path, data: bytes, numbered: tuple[int, tiff.Page] | None, wanted: Wanted
) -> Picture:
    number, page = numbered or (1, None)
    with _complaints_of(name_of(str(path), number)):
        grey = decode_grey(data if page is None else tiff.only(data, page), odd_tiff)
        told, where = _told_if_clear(path, data, page, grey, needed=wanted.magnification is None)
    magnification, source = wanted.magnification, "given"
    if magnification is None:
        magnification, source = _magnification_of(path, told, where)
    cut, reduction = _cut(path, grey, wanted.roi, told)
    return Picture(
        path=path,
        page=number,
        pixels=cut,
        magnification=magnification,
        magnification_from=source,
        reduction=reduction,
        wd_um=None if told is None else told.wd_um,
    )


def _magnification_of(path: Path, told: Metadata | None, where: str) -> tuple[float, str]:
    """The magnification, and who says so."""
    if told is None:
        return ASSUMED_MAGNIFICATION, ASSUMED
    magnification, source = _magnification(told), f"{told.maker} {where}"
    if told.field_width_um is None and told.maker != EM30:
        source += ", own scale"
    check_magnification(magnification, f"the magnification of {path} ({source})")
    return magnification, source


def _magnification(told: Metadata) -> float:
    """On the EM-30's scale if the file gives the width of the field; else on the maker's own."""
    if told.field_width_um is not None:
        return magnification_of(told.field_width_um)
    return told.magnification or math.nan


def _told_if_clear(
    path: Path, data: bytes, page: tiff.Page | None, grey: GreyPixels, *, needed: bool
) -> tuple[Metadata | None, str]:
    """The same as `_told`; nothing where that is not clear and not `needed`."""
    try:
        return _told(path, data, page, grey)
    except ProtocolError:
        if needed:
            raise
        return None, ""


def _told(
    path: Path, data: bytes, page: tiff.Page | None, grey: GreyPixels
) -> tuple[Metadata | None, str]:
    """What the file, or the text beside it, says about the picture; and which of them said so."""
    told = None if page is None else from_page(page, data)
    if told is not None:
        return told, "tags"
    size = Size(width_px=grey.shape[1], height_px=grey.shape[0])
    for beside in _texts_beside(path):
        told = from_text(beside.read_bytes(), size)
        if told is not None:
            return told, beside.suffix
    return None, ""


def _texts_beside(path: Path) -> Iterator[Path]:
    """The texts that microscopes write for `a.tif`: a.txt, a.tif.txt, a.hdr, a-tif.hdr; also in capitals."""
    stems = (path.stem, path.name, f"{path.stem}-{path.suffix[1:]}")
    for suffix in (".txt", ".hdr", ".TXT", ".HDR"):
        for stem in stems:
            beside = path.with_name(stem + suffix)
            if beside.is_file() and beside.stat().st_size <= MAX_TEXT_BYTES:
                yield beside


def _cut(
    path: Path, grey: GreyPixels, roi: Roi | None, told: Metadata | None
) -> tuple[GreyPixels, float]:
    """The part of a picture to judge, and by how much it is reduced."""
    if roi is not None:
        return _region(path, grey, roi)
    if told is not None and told.picture_px is not None:
        return grey[: told.picture_px], 1.0
    return without_data_bar(grey), 1.0


def _region(path: Path, grey: GreyPixels, roi: Roi) -> tuple[GreyPixels, float]:
    """A region at the sampling that the whole picture is judged at, so that the two scores compare."""
    height, width = grey.shape
    if roi.x + roi.width > width or roi.y + roi.height > height:
        raise UsageError(
            f"the region reaches beyond {path}, which is {width} x {height} pixels",
            remedy="give another --roi",
        )
    factor = reduction_factor(width)
    least_px = math.ceil(factor * MIN_SIDE_PX)
    if min(roi.width, roi.height) < least_px:
        raise UsageError(
            f"the region is too small: {path} is judged reduced by {factor:.3g}",
            remedy=f"give one of at least {least_px} pixels a side",
        )
    return reduced_grey(grey[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width], factor), factor
