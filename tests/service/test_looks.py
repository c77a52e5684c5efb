"""A job tells what is drawn into the picture from the specimen by several frames."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.control.values import Reading
from afdaemon.drivers.base import Frame
from afdaemon.drivers.wire.image import GreyPixels
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.region import Region
from afdaemon.service.looks import Looks

DOF_UM = 10.0
GREY = 150
"""Neither black nor white: by sight it might be specimen."""


def drawn(wd_um: float, *, noise: float, seed: int, text: bool) -> NDArray[np.uint8]:
    """A blurred texture, in focus at 0 um, perhaps with a clock drawn into it."""
    texture = np.random.default_rng(1).uniform(40.0, 130.0, (60, 80)).astype(np.float32)
    field = cv2.resize(texture, (320, 240), interpolation=cv2.INTER_NEAREST)
    radius = round(2.0 * abs(wd_um) / DOF_UM)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2).astype(np.float32)
    blurred = cv2.filter2D(field, -1, disc / disc.sum())
    noisy = blurred + noise * np.random.default_rng(seed).standard_normal(field.shape)
    pixels = np.asarray(np.clip(noisy, 6, 249), np.uint8)
    if text:
        cv2.putText(pixels, "12:34", (200, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (GREY,), 2)
    return pixels


def measured(pixels: GreyPixels, magnification: float) -> Measures:
    """Scores by the sharpest spot, as if that were focus."""
    steps = np.abs(np.diff(cv2.GaussianBlur(pixels, (3, 3), 0.0).astype(float), axis=1))
    return Measures(score=min(9.0, float(steps.max()) / 10.0), contrast=0.3, entropy=magnification)


def readings(
    places_dof: list[float],
    *,
    noise: float = 8.0,
    text: bool = True,
    magnifications: list[float] | None = None,
    region: Region | None = None,
) -> list[Reading]:
    looks = Looks(lambda _: DOF_UM) if region is None else Looks(lambda _: DOF_UM, region)
    shown = magnifications or [1_000.0] * len(places_dof)
    told = []
    for number, (away_dof, magnification) in enumerate(zip(places_dof, shown, strict=True)):
        wd_um = away_dof * DOF_UM
        pixels = drawn(wd_um, noise=noise, seed=number, text=text)
        frame = Frame(
            pixels=pixels,
            wd_um=wd_um,
            magnification=magnification,
            sequence=number,
            received_s=0.0,
        )
        told.append(looks.read(frame, measured))
    return told


@pytest.mark.parametrize("noise", [0.5, 8.0])
@pytest.mark.parametrize("places", [[-20.0, -12.0, 6.0], [5.0, -5.0, 10.0]])
def test_three_frames_show_what_is_drawn_and_the_first_are_corrected(
    places: list[float], noise: float
) -> None:
    first, second, third = readings(places, noise=noise)
    assert (first.corrections, second.corrections) == ((), ())
    assert [one.was for one in third.corrections] == [first.frame, second.frame]
    for one in third.corrections:
        assert one.now.score < 0.7 * one.was.score
        assert one.now.mask == "print"
        assert 0.005 < one.now.masked < 0.1
    assert third.frame.masked == third.corrections[0].now.masked


def test_what_was_found_is_left_out_from_then_on() -> None:
    *_, fourth = readings([-20.0, -12.0, 6.0, 6.2])
    assert fourth.corrections == ()
    assert fourth.frame.mask == "print"


@pytest.mark.parametrize("noise", [0.5, 8.0])
@pytest.mark.parametrize("places", [[-20.0, -12.0, 6.0, 0.0], [5.0, -5.0, 0.0, 9.0]])
def test_a_specimen_is_never_taken_for_a_drawing(places: list[float], noise: float) -> None:
    for reading in readings(places, noise=noise, text=False):
        assert reading.corrections == ()
        assert reading.frame.mask == ""


@pytest.mark.parametrize("places", [[-20.0, -12.0], [0.0, 1.0, 2.0, 3.0]])
def test_too_few_frames_or_too_near_ones_prove_nothing(places: list[float]) -> None:
    assert all(reading.frame.mask == "" for reading in readings(places))


def test_at_another_magnification_all_begins_anew() -> None:
    told = readings([-20.0, -12.0, 6.0, 6.0], magnifications=[1e3, 1e3, 500.0, 500.0])
    assert all(reading.frame.mask == "" for reading in told)


def test_a_region_is_compared_with_itself() -> None:
    told = readings([-20.0, -12.0, 6.0], region=Region(x=0.0, y=0.5, width=1.0, height=0.5))
    assert all(reading.corrections == () for reading in told)
