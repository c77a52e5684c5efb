"""The order in which the fast procedure visits places that it has not read."""

import pytest

from afdaemon.control.fast.search import next_unread
from afdaemon.control.limits import Limits, Range


@pytest.mark.parametrize(("halvings", "places"), [(0, 2), (1, 4), (2, 8)])
def test_places_that_were_not_read_are_as_fine_as_allowed(halvings: int, places: int) -> None:
    """Whole strides first; then the places between, and those at the ends of the range."""
    limits = Limits(hard=Range(lo_um=8_950.0, hi_um=11_050.0))
    read = [10_000.0]
    while True:
        place_um = next_unread(read, stride_um=1_000.0, first=1.0, limits=limits, halvings=halvings)
        if place_um is None:
            break
        read.append(place_um)
    assert read[1:3] == [11_000.0, 9_000.0]
    assert len(read) == 1 + places
    assert all(limits.within(wd_um) for wd_um in read)
