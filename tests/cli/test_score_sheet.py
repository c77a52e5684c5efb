"""The contact sheet: order, marks, and how much it holds."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afdaemon.cli.score.sheet import Sheet

TILE_WIDTH, TILE_HEIGHT = 244, 204


def test_the_best_is_first() -> None:
    sheet = Sheet()
    for score, grey in ((2.0, 50), (8.0, 200), (5.0, 100), (1.0, 10)):
        sheet.add("a.png", score, np.full((120, 160), grey, np.uint8))
    drawn = sheet.draw()
    centres = [drawn[90 + TILE_HEIGHT * y, 120 + TILE_WIDTH * x] for y in (0, 1) for x in (0, 1)]
    assert centres == [200, 100, 50, 10]


def test_of_too_many_the_best_are_kept() -> None:
    sheet = Sheet(max_tiles=3)
    for score in range(9):
        sheet.add(f"{score}.png", float(score), np.full((64, 64), 20 * score, np.uint8))
    assert (sheet.seen, sheet.shown) == (9, 3)
    drawn = sheet.draw()
    assert [drawn[90, 120], drawn[90, 120 + TILE_WIDTH]] == [160, 140]


def test_names_scores_and_doubts_are_written() -> None:
    def label(name: str, score: float, *, doubtful: bool = False) -> bytes:
        sheet = Sheet()
        sheet.add(name, score, np.zeros((64, 64), np.uint8), doubtful=doubtful)
        return sheet.draw()[180:].tobytes()

    first = label("one.png", 3.0)
    assert any(first)
    different = {first, label("two.png", 3.0), label("one.png", 4.0)}
    assert len(different | {label("one.png", 3.0, doubtful=True)}) == 4


def test_twelve_bits_in_sixteen_are_not_shown_black() -> None:
    sheet = Sheet()
    sheet.add("a.tif", 1.0, np.tile(np.linspace(0, 4095, 320, dtype=np.uint16), (240, 1)))
    assert sheet.draw()[:180].mean() > 100.0


@settings(max_examples=20)
@given(count=st.integers(0, 14), height=st.integers(1, 400), width=st.integers(1, 400))
def test_any_pictures_make_a_sheet(count: int, height: int, width: int) -> None:
    sheet = Sheet()
    for index in range(count):
        sheet.add("größe.png", index / 2.0, np.full((height, width), 99, np.uint8))
    drawn = sheet.draw()
    assert drawn.shape[0] % TILE_HEIGHT == drawn.shape[1] % TILE_WIDTH == 0
    assert (drawn.shape[0] // TILE_HEIGHT) * (drawn.shape[1] // TILE_WIDTH) >= count
    png = cv2.imdecode(np.frombuffer(sheet.png(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert png is not None
    assert (png == drawn).all()


@pytest.mark.parametrize("name", ["x" * 300, ""])
def test_long_and_empty_names(name: str) -> None:
    sheet = Sheet()
    sheet.add(name, 9.0, np.zeros((100, 100), np.uint8))
    assert sheet.draw().shape == (TILE_HEIGHT, TILE_WIDTH)
