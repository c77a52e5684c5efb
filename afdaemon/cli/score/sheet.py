"""A contact sheet of scored pictures, best first."""

import heapq
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.wire.image import GreyPixels

Grey = NDArray[np.uint8]

_MAX_TILES = 1000
"""Of more pictures only the best are shown; meanwhile only thumbnails are held."""

_TILE = (240, 180)
_GAP_PX, _LABEL_PX = 4, 20
_MOST_COLUMNS = 12
_LETTERS = 22
_WHITE = 255


class Sheet:
    """Takes pictures one by one, keeps thumbnails, draws."""

    def __init__(self, max_tiles: int = _MAX_TILES) -> None:
        self._max_tiles = max_tiles
        self._tiles: list[tuple[float, int, Grey]] = []
        self.seen = 0

    def add(self, name: str, score: float, pixels: GreyPixels, *, doubtful: bool = False) -> None:
        """Take a picture, uint8 or uint16 (H, W)."""
        self.seen += 1
        tile = (score, -self.seen, _tile(name, score, pixels, doubtful))
        if len(self._tiles) < self._max_tiles:
            heapq.heappush(self._tiles, tile)
        else:
            heapq.heappushpop(self._tiles, tile)

    @property
    def shown(self) -> int:
        """How many pictures are on the sheet."""
        return len(self._tiles)

    def draw(self) -> Grey:
        """The sheet, uint8 (H, W): scores fall from left to right and from the top down."""
        tiles = [tile for *_, tile in sorted(self._tiles, key=lambda t: t[:2], reverse=True)]
        columns = max(1, min(_MOST_COLUMNS, math.ceil(math.sqrt(len(tiles)))))
        blank = np.zeros((_TILE[1] + _LABEL_PX + _GAP_PX, _TILE[0] + _GAP_PX), np.uint8)
        tiles += [blank] * (-len(tiles) % columns or columns * (not tiles))
        rows = [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
        return np.vstack(rows)

    def png(self) -> bytes:
        """The sheet as PNG."""
        return cv2.imencode(".png", self.draw())[1].tobytes()


def _tile(name: str, score: float, pixels: GreyPixels, doubtful: bool) -> Grey:
    """A thumbnail with the end of the name and the score under it; `?` marks a doubtful one."""
    width, height = _TILE
    small = _as_bytes(pixels)
    scale = min(width / small.shape[1], height / small.shape[0])
    shape = (max(1, round(small.shape[1] * scale)), max(1, round(small.shape[0] * scale)))
    small = np.asarray(cv2.resize(small, shape, interpolation=cv2.INTER_AREA), np.uint8)
    tile = np.zeros((height + _LABEL_PX + _GAP_PX, width + _GAP_PX), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    ascii_name = name.encode("ascii", "replace").decode("ascii")
    shown = ascii_name if len(ascii_name) <= _LETTERS else f"..{ascii_name[2 - _LETTERS :]}"
    for text, x in ((shown, 2), (f"{score:.2f}{'?' if doubtful else ''}", width - 50)):
        _write(tile, text, (x, height + _LABEL_PX - 6))
    return tile


def _as_bytes(pixels: GreyPixels) -> Grey:
    """8 bits as they are; 16 bits stretched between their darkest and brightest per cent, since many hold only 12."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    low, high = np.percentile(pixels, (1.0, 99.0))
    stretched = (pixels.astype(np.float32) - low) / max(high - low, 1.0) * 255.0
    return np.asarray(np.clip(stretched, 0.0, 255.0), np.uint8)


def _write(image: Grey, text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA)
