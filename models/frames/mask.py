"""What in a frame is no specimen, by sight: data bars, borders, dead lines, and prints of the vendor's software. Pure.

A print is black or white, and ends abruptly; it lies in straight lines along the axes or in few
places. A specimen that saturates is as white, but in many places, and out of focus it does not end abruptly. Out of
focus nothing else is sharp, and there a print would be taken for focus; in focus little is lost if a saturated edge is
taken for a print.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.grey.data_bar import without_data_bar
from afdaemon.grey.scale import Pixels, are_of_one_grey, full_scale, levels

Flags = NDArray[np.bool_]
Levels = NDArray[np.float32]

_FLAT, _FLAT_BORDER, _FLAT_RIM = 2.0, 8.0, 3.0
"""Grey levels (of 256) by which a dead line, and a border, may vary: JPEG. The outermost line varies by less: that
tells a border from dark ground between particles, which has noise."""
_SHAVED = 2
"""Lines inside a border that go with it: JPEG smears its edge."""
_NEAR_END = 5.0
"""Grey levels from black and white that count as such: JPEG again."""
_DEAD_SHARE = 0.98
"""Of a line's pixels that are of one grey, where it is drawn or dead."""
_MOST_BORDER = 0.35
"""Share of the frame's side that a border may take; more is a dark picture."""
_ABRUPT, _ABRUPT_NOISES, _DRAWN_NOISES = 30.0, 3.0, 2.0
"""How much a print differs from what is around it: in grey levels, and in standard deviations of the noise; by less
where it is black or white. Noise alone is that in many places."""
_AROUND_PX, _AROUND_SHARE = 9, 15
"""Side of the surroundings, in pixels or as a share (1/15) of the frame's width."""
_LEAST_PX, _LEAST_DRAWN_PX = 6, 2
"""Pixels of a piece of print, and those of them that are black or white; fewer are specks for the 3 x 3 median."""
_LETTER_PX, _LETTERS = 8, 3
"""What ends abruptly so close to a piece of print belongs to it: the next letter, the dot of an i. This often."""
_GROWN_PX = 5
"""What is around a print, smoothed letters and JPEG's ringing, goes with it: twice two pixels."""
_LEAST_SIDE_PX = 32
"""Smaller frames are not judged anyway."""
_MOST_DEAD = 20
_SAME, _STANDS_OUT, _LEAST_FIXED_PX = 4.0, 25.0, 8
"""What is drawn differs between frames by no more grey levels (JPEG), and from its surroundings by more; its pixels."""
_LINE_SHARE, _LINE_PX = 0.12, 5
"""A straight line is as long as this share of the frame, and no thicker."""
_CELLS, _FEW_CELLS = 8, 20
"""A grid over the frame, and in how many of its cells prints lie at most."""
_NEAR, _FAINT = (15, 15), np.float32(0.02)
"""What is around a hole, and how much the frame's median counts where all around is hole."""
_FAR = (37, 53)
"""Where the noise of what is filled in is taken from, in rows and columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What of a frame is judged: `pixels`, with what was masked inside filled in; `masked` is the share of the frame.

    `why` says what was masked, "" where nothing was.
    """

    pixels: Pixels
    masked: float = 0.0
    why: str = ""


def seen(pixels: Pixels) -> Seen:
    """What of a frame, uint8 or uint16 (H, W), is specimen."""
    if min(pixels.shape) < _LEAST_SIDE_PX:
        return Seen(pixels)
    picture = without_data_bar(pixels)
    grey = levels(picture)
    has_lines = _has_lines_of_one_grey(grey)
    window = _within_border(grey) if has_lines else (slice(None), slice(None))
    inner, grey = picture[window], grey[window]
    flags = _prints(grey)
    if has_lines:
        flags |= _dead_lines(grey)
    found = (
        ("data bar", picture.size < pixels.size),
        ("border", inner.size < picture.size),
        ("print", bool(flags.any())),
    )
    why = " and ".join(name for name, is_there in found if is_there)
    if not why:
        return Seen(pixels)
    kept = inner.size - int(np.count_nonzero(flags))
    return Seen(filled(inner, flags), 1.0 - kept / pixels.size, why)


def fixed(several: Sequence[Pixels]) -> Flags:
    """What stands out alike in several frames (H, W) of one field that differ in blur: it is drawn, whatever its grey.

    A specimen's detail that keeps its grey values while the blur changes by pixels does not stand out, and noise does
    not repeat itself.
    """
    stack = [levels(pixels) for pixels in several]
    candidates = np.ptp(np.stack(stack), axis=0) <= _SAME
    for grey in stack:
        candidates &= np.abs(grey - _around(grey)) > _STANDS_OUT
    _, labels, stats, _ = cv2.connectedComponentsWithStats(candidates.astype(np.uint8))
    is_piece = stats[:, cv2.CC_STAT_AREA] >= _LEAST_FIXED_PX
    is_piece[0] = False
    return _grown(is_piece[labels])


def _grown(flags: Flags) -> Flags:
    return np.asarray(cv2.dilate(flags.astype(np.uint8), np.ones((_GROWN_PX,) * 2, np.uint8)), bool)


def _has_lines_of_one_grey(grey: Levels) -> bool:
    """Whether any row or column may be of a border, or dead: most pictures have none, and need no closer look."""
    pictures = (grey, np.ascontiguousarray(grey.T))
    return any(bool(_of_one_grey(picture, _FLAT_BORDER).any()) for picture in pictures)


def _within_border(grey: Levels) -> tuple[slice, slice]:
    """The rows and columns inside a border of one grey on any side; all if it takes too much."""
    rows = _inside(grey)
    columns = _inside(np.ascontiguousarray(grey[rows].T))
    height, width = grey.shape
    is_border = all(
        (part.stop - part.start) >= (1.0 - 2.0 * _MOST_BORDER) * side
        for part, side in ((rows, height), (columns, width))
    )
    return (rows, columns) if is_border else (slice(0, height), slice(0, width))


def _inside(grey: Levels) -> slice:
    """The rows between those of one grey at either end."""
    flat = _of_one_grey(grey, _FLAT_BORDER)
    kept = np.flatnonzero(~flat)
    if not kept.size:
        return slice(0, len(flat))
    above, below = _of_one_grey(grey[[0, -1]], _FLAT_RIM)
    first, last = int(kept[0]) if above else 0, int(kept[-1]) + 1 if below else len(flat)
    return slice(first + _SHAVED * (first > 0), last - _SHAVED * (last < len(flat)))


def _of_one_grey(grey: Levels, tolerance: float) -> Flags:
    """Which rows are of one grey."""
    return are_of_one_grey(grey, tolerance, _DEAD_SHARE)


def _dead_lines(grey: Levels) -> Flags:
    """Rows and columns of one grey; none where many are (an empty or saturated picture)."""
    flags = np.zeros(grey.shape, bool)
    for picture, along in ((grey, flags), (np.ascontiguousarray(grey.T), flags.T)):
        lines = _of_one_grey(picture, _FLAT)
        if 0 < np.count_nonzero(lines) <= _MOST_DEAD:
            along[lines] = True
    return flags


def _prints(grey: Levels) -> Flags:
    is_black_or_white = (grey <= _NEAR_END) | (grey >= 255.0 - _NEAR_END)
    if np.count_nonzero(is_black_or_white) < _LEAST_DRAWN_PX:
        return np.zeros(grey.shape, bool)
    apart = grey - _around(grey)
    noise = 1.4826 * float(np.median(np.abs(apart[::4, ::4])))
    far = np.abs(apart)
    is_drawn = is_black_or_white & (far > max(_ABRUPT, _DRAWN_NOISES * noise))
    is_abrupt = is_drawn | (far > max(_ABRUPT, _ABRUPT_NOISES * noise))
    if np.count_nonzero(is_drawn) < _LEAST_DRAWN_PX:
        return np.zeros(grey.shape, bool)
    lines = _lines(is_drawn)
    return _grown(lines | _in_few_places(is_abrupt & ~lines, is_drawn))


def _around(grey: Levels) -> Levels:
    """What is usual around each pixel: the median over a fifteenth of the width, at a half of the sampling."""
    height, width = grey.shape
    size = max(_AROUND_PX, width // (2 * _AROUND_SHARE) | 1)
    half = cv2.resize(grey, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    usual = cv2.medianBlur(np.clip(half, 0, 255).astype(np.uint8), size)
    return np.asarray(cv2.resize(usual, (width, height)), np.float32)


def _in_few_places(is_abrupt: Flags, is_drawn: Flags) -> Flags:
    """Whole pieces of what ends abruptly with something drawn in it, if they are in few places."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(is_abrupt.astype(np.uint8))
    drawn = np.bincount(labels[is_drawn], minlength=len(stats))
    chosen = (stats[:, cv2.CC_STAT_AREA] >= _LEAST_PX) & (drawn >= _LEAST_DRAWN_PX)
    chosen[0] = False
    pieces = chosen[labels]
    for _ in range(_LETTERS):
        if not pieces.any() or not _is_in_few_cells(pieces):
            return np.zeros_like(pieces)
        close = cv2.dilate(pieces.astype(np.uint8), np.ones((2 * _LETTER_PX + 1,) * 2, np.uint8))
        pieces = np.asarray(pieces | (is_abrupt & (close > 0)), bool)
    return pieces if _is_in_few_cells(pieces) else np.zeros_like(pieces)


def _is_in_few_cells(pieces: Flags) -> bool:
    cells = cv2.resize(pieces.astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    return int(np.count_nonzero(cells)) <= _FEW_CELLS


def _lines(candidates: Flags) -> Flags:
    """Long straight runs along rows and columns, thinner than a few pixels."""
    image = candidates.astype(np.uint8)
    height, width = image.shape
    thick = cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((_LINE_PX + 1,) * 2, np.uint8))
    along, down = (
        cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones(size, np.uint8))
        for size in ((1, round(_LINE_SHARE * width)), (round(_LINE_SHARE * height), 1))
    )
    return np.asarray(((along > 0) | (down > 0)) & (thick == 0))


def filled(inner: Pixels, flags: Flags) -> Pixels:
    """A picture (H, W) with what is flagged filled with its surroundings, and with the noise of another place."""
    if not flags.any():
        return inner
    holes = flags.astype(np.uint8)
    grey = np.asarray(inner, np.float32)
    usual = np.float32(np.median(grey[::4, ::4]))
    weight = cv2.blur(1.0 - holes.astype(np.float32), _NEAR) + _FAINT
    smooth = cv2.blur(np.where(flags, np.float32(0.0), grey), _NEAR) + _FAINT * usual
    smooth /= weight
    rough = np.where(flags, np.float32(0.0), grey - smooth)
    there = np.roll(rough, _FAR, axis=(0, 1))
    filled = np.where(flags, smooth + there, grey)
    return _as(np.clip(np.rint(filled), 0, full_scale(inner)), inner)


def _as(values: Levels, pixels: Pixels) -> Pixels:
    return values.astype(np.uint8) if pixels.dtype == np.uint8 else values.astype(np.uint16)
