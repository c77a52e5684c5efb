"""Prints: fixed, sharp, and of no grey that the specimen chooses."""

import numpy as np
import pytest

from afdaemon.sim.errors import SettingError
from afdaemon.sim.imaging.prints import Print, parse_prints, printed

PICTURE = np.random.default_rng(0).integers(90, 160, (240, 320), np.uint8)
ABOVE = [one for one in Print if one is not Print.DATA_BAR]


@pytest.mark.parametrize("kind", ABOVE)
def test_a_print_leaves_most_of_the_picture_as_it_is(kind: Print) -> None:
    before = PICTURE.copy()
    over = printed(PICTURE, [kind], 1)
    assert (before == PICTURE).all()
    drawn = over != PICTURE
    assert 0.0 < drawn.mean() < (0.6 if kind is Print.BORDER else 0.1)
    assert {0, 128, 255} & set(np.unique(over[drawn]))


@pytest.mark.parametrize("kind", ABOVE)
def test_it_stays_unless_it_tells_the_time_or_follows_a_hand(kind: Print) -> None:
    one, other = (printed(PICTURE, [kind], number) for number in (1, 2))
    assert np.array_equal(one, other) == (kind not in (Print.CLOCK, Print.CURSOR))


def test_a_data_bar_comes_below() -> None:
    over = printed(PICTURE, [Print.DATA_BAR, Print.LINE], 1)
    assert over.shape == (259, 320)
    assert (over[160] == 255).all()
    assert {0, 255} <= set(np.unique(over[240:]))


def test_they_are_named_together_and_misspelt_ones_refused() -> None:
    assert parse_prints("") == ()
    assert parse_prints("crosshair+scale-bar") == (Print.CROSSHAIR, Print.SCALE_BAR)
    assert printed(PICTURE, (), 1) is PICTURE
    with pytest.raises(SettingError, match="crossbow") as refused:
        parse_prints("crossbow")
    assert "crosshair" in refused.value.remedy
