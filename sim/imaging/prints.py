"""What a vendor's software draws into the live picture, and what is stuck in it: none of it is specimen. Pure.

Several may be named together: `crosshair+clock`. Sizes are shares of the frame's, so that they look alike in any.
"""

from collections.abc import Callable, Collection
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.errors import SettingError

Pixels = NDArray[np.uint8]

WHITE, BLACK = 255, 0
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_STUCK = 60
_BORDER, _BAR = 0.15, 0.08
"""Shares of the frame's height: of each black border, and of the data bar below."""


class Print(StrEnum):
    """Everything that may lie over the picture."""

    CROSSHAIR = "crosshair"
    TEXT = "text"
    CLOCK = "clock"
    SCALE_BAR = "scale-bar"
    LINE = "line"
    DATA_BAR = "data-bar"
    BORDER = "border"
    STUCK = "stuck"
    CURSOR = "cursor"
    RULER = "ruler"
    BOX = "box"
    DEAD_LINES = "dead-lines"


def parse_prints(text: str) -> tuple[Print, ...]:
    """The prints that a text such as `crosshair+clock` names; none for an empty one. Raises `SettingError`."""
    try:
        return tuple(Print(name) for name in text.split("+")) if text else ()
    except ValueError:
        raise SettingError(
            f"there is no print like one of {text!r}",
            remedy=f"use {', '.join(Print)}, joined by +",
        ) from None


def printed(pixels: Pixels, prints: Collection[Print], number: int) -> Pixels:
    """Frame `number`, uint8 (H, W), with them; a data bar makes it higher, and comes last."""
    over = pixels.copy() if prints else pixels
    for one in sorted(prints, key=list(Print).index):
        if one is not Print.DATA_BAR:
            _DRAW[one](over, number)
    return _with_bar(over, number) if Print.DATA_BAR in prints else over


def _crosshair(over: Pixels, _number: int) -> None:
    height, width = over.shape
    over[height // 2, :] = WHITE
    over[:, width // 2] = WHITE


def _write(over: Pixels, text: str, at: tuple[float, float]) -> None:
    height, width = over.shape
    place = (round(at[0] * width), round(at[1] * height))
    cv2.putText(over, text, place, _FONT, height / 520.0, WHITE, max(1, height // 480))


def _text(over: Pixels, _number: int) -> None:
    _write(over, "SE 15.0 kV x2.0k", (0.02, 0.06))
    _write(over, "lab 3, specimen 17", (0.02, 0.13))


def _clock(over: Pixels, number: int) -> None:
    minutes, seconds = divmod(number, 60)
    _write(over, f"12:{minutes % 60:02d}:{seconds:02d}", (0.72, 0.06))


def _scale_bar(over: Pixels, _number: int) -> None:
    height, width = over.shape
    thick = max(2, height // 120)
    over[-2 * thick - height // 30 : -thick - height // 30, width // 20 : width // 4] = WHITE
    _write(over, "10 um", (0.06, 0.92))


def _line(over: Pixels, _number: int) -> None:
    over[2 * over.shape[0] // 3, :] = WHITE


def _border(over: Pixels, _number: int) -> None:
    edge = round(_BORDER * over.shape[0])
    over[:edge] = over[-edge:] = BLACK
    over[:, :edge] = over[:, -edge:] = BLACK


def _stuck(over: Pixels, _number: int) -> None:
    rng = np.random.default_rng(_STUCK)
    rows, columns = (rng.integers(0, side, _STUCK) for side in over.shape)
    over[rows, columns] = np.where(np.arange(_STUCK) % 2, WHITE, BLACK)


def _cursor(over: Pixels, number: int) -> None:
    """An arrow, white with a black outline, that wanders."""
    height, width = over.shape
    turn = 0.7 * number
    tip = np.array([width * (0.5 + 0.3 * np.cos(turn)), height * (0.5 + 0.3 * np.sin(1.3 * turn))])
    shape = np.array([[0, 0], [0, 17], [4, 13], [7, 19], [9, 18], [6, 12], [11, 12]])
    outline = np.rint(tip + shape * (height / 480.0 + 0.5)).astype(np.int32)
    cv2.fillPoly(over, [outline], WHITE)
    cv2.polylines(over, [outline], isClosed=True, color=BLACK, thickness=1)


def _ruler(over: Pixels, _number: int) -> None:
    height, width = over.shape
    for k, column in enumerate(range(0, width, max(4, width // 40))):
        over[: height // (24 if k % 5 else 14), column] = WHITE
    for k, row in enumerate(range(0, height, max(4, height // 30))):
        over[row, : width // (32 if k % 5 else 18)] = WHITE


def _box(over: Pixels, _number: int) -> None:
    height, width = over.shape
    corners = (width // 3, height // 3), (2 * width // 3, 2 * height // 3)
    cv2.rectangle(over, corners[0], corners[1], WHITE, 1)


def _dead_lines(over: Pixels, _number: int) -> None:
    """Two rows and a column that always show the same grey."""
    height, width = over.shape
    over[height // 5] = BLACK
    over[height // 2 + 3] = 128
    over[:, width // 7] = WHITE


def _with_bar(over: Pixels, number: int) -> Pixels:
    height, width = over.shape
    bar = np.zeros((max(12, round(_BAR * height)), width), np.uint8)
    place, size = (4, round(0.75 * bar.shape[0])), bar.shape[0] / 40.0
    cv2.putText(bar, f"SE 15.0kV x2,000 10um {number:04d}", place, _FONT, size, WHITE, 1)
    bar[-3:-1, 3 * width // 4 :] = WHITE
    return np.vstack([over, bar])


_DRAW: dict[Print, Callable[[Pixels, int], None]] = {
    Print.CROSSHAIR: _crosshair,
    Print.TEXT: _text,
    Print.CLOCK: _clock,
    Print.SCALE_BAR: _scale_bar,
    Print.LINE: _line,
    Print.BORDER: _border,
    Print.STUCK: _stuck,
    Print.CURSOR: _cursor,
    Print.RULER: _ruler,
    Print.BOX: _box,
    Print.DEAD_LINES: _dead_lines,
}
