"""A contact sheet: specimens x magnifications x defocus, as the simulated instrument records them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.datasets.snapshot import Snapshot, take
from afdaemon.sim.errors import OutOfReach
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.specimens.catalogue import STAND_INS, TRAINED, UNSEEN

Grey = NDArray[np.uint8]

MAGNIFICATIONS = (100, 1000, 10_000)
_DEFOCUS_DOF = (0.0, 6.0)
_TILE = (240, 180)
_GAP_PX = 3
_HEAD_PX, _NAME_PX = 46, 22
_BAR_SHARE = 0.3
"""The longest scale bar, as a share of a tile's width."""

_GREY_LEVELS = (64, 48, 32, 24, 16, 12, 8)
"""Coarser greys make a smaller file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """What is shown: one row per specimen, one column per magnification and defocus (in depths of focus)."""

    specimens: tuple[str, ...] = (
        *(name for name in TRAINED if name not in STAND_INS),
        *UNSEEN,
        "tin_balls+dust+scratches",
    )
    magnifications: tuple[int, ...] = MAGNIFICATIONS
    defocus_dof: tuple[float, ...] = _DEFOCUS_DOF
    seed: int = 0


def draw(gallery: Gallery) -> Grey:
    """The sheet, uint8 (H, W). A field that the lens cannot defocus that far stays black.

    Raises:
        SimError: an invalid specimen, seed or magnification.
    """
    # All settings are checked before the first of many frames is drawn.
    wanted = [
        [
            InstrumentSettings(specimen=name, magnification=magnification, seed=gallery.seed)
            for magnification in gallery.magnifications
        ]
        for name in gallery.specimens
    ]
    head = _head(gallery)
    rows = [_row(settings, gallery.defocus_dof) for settings in wanted]
    return np.vstack([head, *rows])


def encode(sheet: Grey, *, limit_bytes: int) -> bytes:
    """The sheet as PNG, in as many greys as fit into `limit_bytes`; in the fewest where none does."""
    png = b""
    for levels in _GREY_LEVELS:
        step = 255.0 / (levels - 1)
        coarse = np.rint(np.rint(sheet / step) * step).astype(np.uint8)
        options = [cv2.IMWRITE_PNG_COMPRESSION, 9]
        png = cv2.imencode(".png", coarse, options)[1].tobytes()
        if len(png) <= limit_bytes:
            break
    return png


def _row(settings: Sequence[InstrumentSettings], defocus_dof: Sequence[float]) -> Grey:
    tiles = [_tile(one, offset) for one in settings for offset in defocus_dof]
    strip = np.hstack([np.pad(tile, ((0, _GAP_PX), (0, _GAP_PX))) for tile in tiles])
    name = np.zeros((_NAME_PX, strip.shape[1]), np.uint8)
    _write(name, settings[0].specimen, (4, 16), 0.5)
    return np.vstack([name, strip])


def _head(gallery: Gallery) -> Grey:
    columns = [(m, d) for m in gallery.magnifications for d in gallery.defocus_dof]
    head = np.zeros((_HEAD_PX, (_TILE[0] + _GAP_PX) * len(columns)), np.uint8)
    for number, (magnification, offset) in enumerate(columns):
        left = number * (_TILE[0] + _GAP_PX) + 4
        state = "in focus" if offset == 0.0 else f"{offset:+g} DoF"
        _write(head, f"{magnification} x", (left, 18), 0.5)
        _write(head, f"defocus: {state}", (left, 38), 0.45)
    return head


def _tile(settings: InstrumentSettings, offset: float) -> Grey:
    try:
        (snapshot,) = take(settings, [offset])
    except OutOfReach:
        tile = np.zeros((_TILE[1], _TILE[0]), np.uint8)
        _write(tile, "beyond the lens", (8, _TILE[1] // 2), 0.45)
        return tile
    small = cv2.resize(snapshot.pixels, _TILE, interpolation=cv2.INTER_AREA)
    tile = np.ascontiguousarray(small, dtype=np.uint8)
    _scale_bar(tile, snapshot)
    return tile


def _scale_bar(tile: Grey, snapshot: Snapshot) -> None:
    """A bar of a round length, white on black, at the lower left."""
    width_um = snapshot.pixels.shape[1] * snapshot.pixel_nm / 1000.0
    length_um = round_length(_BAR_SHARE * width_um)
    length_px = round(length_um / width_um * tile.shape[1])
    top = tile.shape[0] - 22
    tile[top:, : max(length_px, 52) + 10] = 0
    tile[top + 4 : top + 7, 5 : 5 + length_px] = 255
    _write(tile, f"{length_um:g} um", (5, tile.shape[0] - 4), 0.36)


def round_length(longest: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50 ... (and of .1, .2 ...) that is not above `longest`."""
    decade = 10.0 ** np.floor(np.log10(longest))
    return float(max(digit * decade for digit in (1.0, 2.0, 5.0) if digit * decade <= longest))


def _write(image: Grey, text: str, at: tuple[int, int], size: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
