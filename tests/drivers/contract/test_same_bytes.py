"""The same seed and the same orders give the same frames, whatever link they go over and however long it takes."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.clock import ManualClock
from afdaemon.drivers.wire.jpeg import decode_jpeg
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import JPEG_QUALITY

Rig = Any  # the class stands in conftest.py, which is not importable

WALK_UM = (11_400.0, 11_150.0, 10_980.0, 11_003.3)


def as_sent(pixels: NDArray[np.uint8], link: str) -> NDArray[np.uint8]:
    """What the link leaves of a frame: the vendor's files, which the bridge passes on, are JPEG."""
    if link not in ("aisem", "bridge"):
        return pixels
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return decode_jpeg(cv2.imencode(".jpg", pixels, quality)[1].tobytes())


@pytest.fixture
def patience() -> dict[str, float]:
    """Asking for a frame again would expose another one."""
    return {"frame_timeout_s": 60.0, "ask_again_s": 60.0}


async def test_every_link_delivers_the_frames_of_the_seed(rig: Rig) -> None:
    world = World(rig.world.settings, clock=ManualClock())
    for wd_um in WALK_UM:
        world.command(wd_um, world.magnification)
        await world.settle()
        expected = await world.expose()
        await rig.microscope.move_wd(wd_um)
        await rig.microscope.read_state()
        frame = await rig.microscope.grab()
        assert np.array_equal(frame.pixels, as_sent(expected.pixels, rig.link))
        assert abs(frame.wd_um - expected.wd_um) < 0.06
