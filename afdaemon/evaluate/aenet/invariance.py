"""Does the score stay where it is while everything but the focus changes?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.evaluate.judged import Case, Judge, Judged, drawn, judged
from afdaemon.evaluate.section import Section, at_least, new_figure
from afdaemon.grey.data_bar import without_data_bar
from afdaemon.models.frames.shot import Shot
from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, UNSEEN_MAGNIFICATIONS
from afdaemon.sim.datasets.scenes import log_uniform, worth_looking
from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View
from afdaemon.sim.optics import Optics, pixel_um
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.specimens.soiled import Soiled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHANGE_LIMIT = 0.5
_SHARE_WITHIN = 0.95
BLURS_PX = (0.0, 2.0, 4.0, 8.0, 16.0)
_USUAL = Detector(electrons=1000.0, contrast=0.8, brightness=0.5, read_noise=2.0)
"""Detector of the frames that the changed ones are compared with."""

_DETECTORS: Mapping[str, Sequence[Detector]] = {
    "brightness": [replace(_USUAL, brightness=0.5 * by) for by in (0.7, 0.85, 1.15, 1.3)],
    "contrast": [replace(_USUAL, contrast=0.8 * by) for by in (0.5, 0.7, 1.4, 2.0)],
    "gamma": [replace(_USUAL, gamma=gamma) for gamma in (0.6, 0.8, 1.25, 1.6)],
    "noise": [replace(_USUAL, read_noise=sigma) for sigma in (5.0, 10.0, 20.0, 40.0)],
}
"""What is changed at the detector: brightness +-30 %, contrast x0.5 to x2, gamma .6 to 1.6, noise in grey levels."""
CHANGES = (*_DETECTORS, "dust", "data bar")

_BAR_SHARE = 0.09
_ALPHA_RAD = 4e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a frame differs from the usual one of the same `base` (a place and a blur); "" is that one itself."""

    base: str
    what: str


@dataclass(frozen=True, slots=True)
class PlaceTask:
    """A place on a specimen, to be imaged in all ways at all blurs."""

    specimen: str
    number: int
    seed: int


def measure(
    judge: Judge, specimens: Sequence[str], *, places: int, seed: int, workers: int
) -> Section:
    """All changes at `places` places of each specimen."""
    return conclude(
        list(judged(judge, cases(specimens, places=places, seed=seed, workers=workers)))
    )


def cases(
    specimens: Sequence[str], *, places: int, seed: int, workers: int
) -> Iterator[Case[Change]]:
    """The usual frame and all changed ones, of each place at each blur."""
    jobs = [PlaceTask(name, number, seed) for name in specimens for number in range(places)]
    for several in drawn(image, jobs, workers=workers):
        yield from several


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A view of a specimen, clean and dusty. Dust stands above it: each of the two has a focus of its own."""

    view: View
    clean: Imager
    dusty: Imager

    def expose(
        self, imager: Imager, detector: Detector, blur_px: float, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """A frame whose detail is blurred by that radius."""
        imager.detector = detector
        away_um = blur_px * pixel_um(self.view.magnification) / _ALPHA_RAD
        best_um = -imager.focus_height_um(self.view)
        return imager.expose(self.view, defocus_um=best_um + away_um, rng=rng)


def image(job: PlaceTask) -> list[Case[Change]]:
    """All frames of a place. The noise differs from frame to frame."""
    rng = np.random.default_rng([job.seed, job.number, *job.specimen.encode()])
    place = _place(job, rng)
    return [
        Case(
            Shot(pixels=frame, magnification=place.view.magnification),
            Change(base=f"{job.specimen} {job.number} {blur_px:g} px", what=what),
        )
        for blur_px in BLURS_PX
        for what, frame in _frames(place, blur_px, rng)
    ]


def _place(job: PlaceTask, rng: np.random.Generator) -> Place:
    bounds = PUBLISHED_MAGNIFICATIONS.get(job.specimen, UNSEEN_MAGNIFICATIONS)
    magnification = log_uniform(rng, bounds)
    specimen = open_specimen(job.specimen, seed=int(rng.integers(2**31)))
    dusty = Soiled(specimen=specimen, seed=int(rng.integers(2**31)), dust=1.0)
    optics = Optics(alpha_rad=_ALPHA_RAD)
    view = View(x_um=0.0, y_um=0.0, magnification=magnification, width_px=320, height_px=240)
    clean = Imager(specimen, optics, _USUAL)
    view = worth_looking(clean, view, rng)
    return Place(view, clean, Imager(dusty, optics, _USUAL))


def _frames(
    place: Place, blur_px: float, rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    usual = place.expose(place.clean, _USUAL, blur_px, rng)
    yield "", usual
    yield "dust", place.expose(place.dusty, _USUAL, blur_px, rng)
    yield "data bar", cropped_again(usual)
    for what, several in _DETECTORS.items():
        for detector in several:
            yield what, place.expose(place.clean, detector, blur_px, rng)


def cropped_again(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame under which a data bar was written and cropped again, as image files are read."""
    bar = np.zeros((round(_BAR_SHARE * frame.shape[0]), frame.shape[1]), np.uint8)
    text = "15.0 kV  WD 12.3 mm  x2000  SE"
    cv2.putText(bar, text, (8, bar.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
    return np.asarray(without_data_bar(np.vstack([frame, bar])), np.uint8)


def _changes_of(found: Sequence[Judged[Change]]) -> dict[str, NDArray[np.float64]]:
    """Changes of the score against the usual frame of the same base, by what was changed."""
    usual = {one.facts.base: one.said.score for one in found if not one.facts.what}
    return {
        what: np.array(
            [one.said.score - usual[one.facts.base] for one in found if one.facts.what == what]
        )
        for what in CHANGES
    }


def conclude(found: Sequence[Judged[Change]]) -> Section:
    """Shares of small changes."""
    changes = _changes_of(found)
    share = {w: float(np.mean(np.abs(c) <= _CHANGE_LIMIT)) for w, c in changes.items()}
    lines = [f"{'changed':<14}{'frames':>7}{'within .5':>11}{'median':>9}{'95 % below':>12}"]
    lines += [
        f"{what:<14}{len(some):>7}{share[what]:>11.3f}{np.median(some):>+9.3f}"
        f"{np.percentile(np.abs(some), 95.0):>12.3f}"
        for what, some in changes.items()
    ]
    return Section(
        key="invariance",
        title="Changes of the score at fixed focus",
        lines=lines,
        bars=[
            at_least(f"{what}: share of changes <= {_CHANGE_LIMIT:g}", share[what], _SHARE_WITHIN)
            for what in changes
        ],
        numbers={
            what: {
                "share_within": share[what],
                "percentiles": np.percentile(some, (2.5, 25.0, 50.0, 75.0, 97.5)).tolist(),
            }
            for what, some in changes.items()
        },
        figures={"invariance": _plot(changes)},
    )


def _plot(changes: Mapping[str, NDArray[np.float64]]) -> "Figure":
    figure = new_figure(7.0, 3.4)
    axes = figure.add_subplot()
    axes.boxplot(list(changes.values()), whis=(2.5, 97.5), showfliers=False)
    axes.set_xticks(range(1, len(changes) + 1), list(changes))
    for limit in (-_CHANGE_LIMIT, _CHANGE_LIMIT):
        axes.axhline(limit, color="#b33", lw=0.8)
    axes.set(ylabel="change of the score (whiskers: 95 %)")
    return figure
