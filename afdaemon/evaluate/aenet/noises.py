"""Noise of other kinds, equally strong: is a score under them as good as under white noise?

White noise comes from the amplifier. A slow detector makes it coloured along the lines; few electrons make it skewed,
and stronger where the specimen is bright.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from afdaemon.evaluate.aenet.invariance import BLURS_PX, PlaceTask
from afdaemon.evaluate.judged import Case, Judge, Judged, drawn, judged
from afdaemon.evaluate.section import Section, at_most
from afdaemon.models.frames.shot import Shot
from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, UNSEEN_MAGNIFICATIONS
from afdaemon.sim.datasets.scenes import log_uniform, worth_looking
from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View
from afdaemon.sim.optics import Optics, pixel_um
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.truth import focus_score

_CLOSE, _MOST_WORSE = 1.0, 0.02
_ALPHA_RAD = 4e-3
_STRENGTHS = (10.0, 20.0, 35.0)
"""Standard deviation at half of the signal, in grey levels; the last is that of 27 electrons a pixel."""
_MANY = 1e6
"""Electrons whose counting noise does not show."""
WHITE = "white"
_SLOW_PX: Mapping[str, float] = MappingProxyType({"tau .3 px": 0.3, "tau 1 px": 1.0})
FEW = "few electrons"
KINDS = (WHITE, *_SLOW_PX, FEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The noise of a frame, and the frame's true score."""

    kind: str
    truth: float


def measure(
    judge: Judge, specimens: Sequence[str], *, places: int, seed: int, workers: int
) -> Section:
    """All kinds at `places` places of each specimen, at all strengths and blurs."""
    jobs = [PlaceTask(name, number, seed) for name in specimens for number in range(places)]
    cases = (case for several in drawn(image, jobs, workers=workers) for case in several)
    return conclude(list(judged(judge, cases)))


def detector_of(kind: str, strength: float) -> Detector:
    """A detector whose noise at half of the signal has that standard deviation (grey levels)."""
    counted = 0.5 * (255.0 / strength) ** 2
    match kind:
        case "white":
            return Detector(electrons=_MANY, read_noise=strength)
        case "few electrons":
            return Detector(electrons=counted, read_noise=0.0)
        case _:
            left = math.exp(-1.0 / _SLOW_PX[kind])
            # a filter of first order, on white noise's variance
            weakened = (1.0 - left) / (1.0 + left)
            return Detector(electrons=counted * weakened, read_noise=0.0, tau_px=_SLOW_PX[kind])


def image(job: PlaceTask) -> list[Case[Noise]]:
    """All frames of a place."""
    rng = np.random.default_rng([job.seed, job.number, *job.specimen.encode()])
    bounds = PUBLISHED_MAGNIFICATIONS.get(job.specimen, UNSEEN_MAGNIFICATIONS)
    view = View(
        x_um=0.0, y_um=0.0, magnification=log_uniform(rng, bounds), width_px=320, height_px=240
    )
    specimen = open_specimen(job.specimen, seed=int(rng.integers(2**31)))
    imager = Imager(specimen, Optics(alpha_rad=_ALPHA_RAD), Detector())
    return list(_cases(imager, worth_looking(imager, view, rng), rng))


def _cases(imager: Imager, view: View, rng: np.random.Generator) -> Iterator[Case[Noise]]:
    best_um = -imager.focus_height_um(view)
    for blur_px in BLURS_PX:
        away_um = blur_px * pixel_um(view.magnification) / _ALPHA_RAD
        for kind in KINDS:
            for strength in _STRENGTHS:
                imager.detector = detector_of(kind, strength)
                frame = imager.expose(view, defocus_um=best_um + away_um, rng=rng)
                shot = Shot(pixels=frame, magnification=view.magnification)
                yield Case(shot, Noise(kind=kind, truth=focus_score(blur_px)))


def conclude(found: Sequence[Judged[Noise]]) -> Section:
    """Shares of scores within 1 of the truth."""
    share = {
        kind: float(np.mean([_is_close(one) for one in found if one.facts.kind == kind]))
        for kind in KINDS
    }
    lines = [f"{'noise':<16}{'frames':>7}{'within 1':>10}"]
    for kind in KINDS:
        count = sum(one.facts.kind == kind for one in found)
        lines.append(f"{kind:<16}{count:>7}{share[kind]:>10.3f}")
    return Section(
        key="noises",
        title="Noise of other kinds, as strong as white noise",
        lines=lines,
        bars=[
            at_most(
                f"{kind}: worse than white noise, share within 1",
                share[WHITE] - share[kind],
                _MOST_WORSE,
            )
            for kind in KINDS[1:]
        ],
        numbers=share,
    )


def _is_close(one: Judged[Noise]) -> bool:
    return abs(one.said.score - one.facts.truth) <= _CLOSE
