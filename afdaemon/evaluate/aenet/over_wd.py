"""Series over the WD of what AENet was hardly trained on, or never: astigmatism, foam, lattices, real probes.

What is known of each frame is its blur, hence its label; what is asked is how far the score is from it, whether the
expected error knows, how wide the curve is, and where its peak lies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from afdaemon.evaluate.judged import Judge, drawn
from afdaemon.evaluate.section import Section, at_least, at_most
from afdaemon.models.frames.shot import Shot
from afdaemon.sim.datasets.scenes import log_uniform, worth_looking
from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View
from afdaemon.sim.optics import Beam, Optics, depth_of_focus_um
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.truth import focus_score

Floats = NDArray[np.float64]

_COARSE_DOF: Floats = np.arange(-12.0, 12.5)
_FINE_DOF: Floats = np.arange(-24, 25) / 4.0
_MAGNIFICATIONS = (2_000.0, 15_000.0)
"""Gold shows nothing at the first, so that it is left out there."""
_KV = (1.0, 30.0)
"""Tensions of wave-optical probes."""
_ASTIGMATISM_DOF = (0.0, 1.0, 2.0, 3.0, 4.0)
_CLOSE, _CLOSE_SHARE = 1.0, 0.90
_WIDEST_DOF = 5.0
"""Of a foam's curve at half its height; by the label it is 4."""
_WRONG, _OWNED_UP, _OWNED_UP_SHARE = 2.0, 1.5, 0.90
_OFF_DOF = {0.0: 0.3, 1.0: 0.3, 2.0: 0.3, 4.0: 0.7}
"""How far the peak may lie from the least blur, by the distance of the line foci."""
_AROUND_PEAK = 4
"""Readings to either side of the highest score through which a parabola is laid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesTask:
    """A series to be imaged: `number` and `seed` decide all that is not said."""

    specimen: str
    magnification: float
    places_dof: Floats = field(repr=False)
    astigmatism_dof: float = 0.0
    is_wave_optical: bool = False
    number: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A series, judged. Each list is (n,), along the WD in depths of focus (DoF) from the least blur."""

    specimen: str
    magnification: float
    astigmatism_dof: float
    places_dof: Sequence[float]
    scores: Sequence[float]
    truth: Sequence[float]
    expected_errors: Sequence[float]

    @property
    def errors(self) -> Floats:
        """How far each score is from its label."""
        return np.asarray(np.abs(np.array(self.scores) - np.array(self.truth)))

    @property
    def width_dof(self) -> float:
        """Width at half of its height, as far as it is at least that high without a gap."""
        scores, places = np.array(self.scores), np.array(self.places_dof)
        top, half = int(np.argmax(scores)), 0.5 * float(scores.max())
        ends = []
        for step in (-1, 1):
            k = top
            while 0 <= k + step < len(scores) and scores[k + step] >= half:
                k += step
            if not 0 <= k + step < len(scores):
                ends.append(float(places[k]))
                continue
            share = (scores[k] - half) / (scores[k] - scores[k + step])
            ends.append(float(places[k] + share * (places[k + step] - places[k])))
        return ends[1] - ends[0]

    @property
    def peak_dof(self) -> float:
        """Top of the parabola through the readings around the highest score."""
        top = int(np.argmax(self.scores))
        near = slice(max(0, top - _AROUND_PEAK), top + _AROUND_PEAK + 1)
        bent, slope, _ = np.polyfit(self.places_dof[near], self.scores[near], 2)
        return float(-0.5 * slope / bent) if bent < 0.0 else float(self.places_dof[top])


def curves(judge: Judge, jobs: Sequence[SeriesTask], *, workers: int) -> Iterator[Curve]:
    """All series, judged."""
    for job, (frames, truth) in zip(jobs, drawn(image, jobs, workers=workers), strict=True):
        said = judge.judge([Shot(pixels=p, magnification=job.magnification) for p in frames])
        yield Curve(
            specimen=job.specimen,
            magnification=job.magnification,
            astigmatism_dof=job.astigmatism_dof,
            places_dof=job.places_dof.tolist(),
            scores=[one.score for one in said],
            truth=truth,
            expected_errors=[one.expected_error for one in said],
        )


def image(job: SeriesTask) -> tuple[NDArray[np.uint8], list[float]]:
    """Frames (n, H, W) and their labels."""
    rng = np.random.default_rng([job.seed, job.number, *job.specimen.encode()])
    optics = _optics(job, rng)
    detector = Detector(
        electrons=log_uniform(rng, (100.0, 600.0)),
        contrast=float(rng.uniform(0.6, 1.2)),
        brightness=float(rng.uniform(0.4, 0.6)),
    )
    imager = Imager(open_specimen(job.specimen, seed=int(rng.integers(2**31))), optics, detector)
    view = View(x_um=0.0, y_um=0.0, magnification=job.magnification, width_px=320, height_px=240)
    view = worth_looking(imager, view, rng)
    best_um = -imager.focus_height_um(view)
    places_um = job.places_dof * depth_of_focus_um(job.magnification, optics.alpha_rad)
    frames = [imager.expose(view, defocus_um=best_um + at, rng=rng) for at in places_um.tolist()]
    blurs = [optics.blur(at, job.magnification) for at in places_um.tolist()]
    return np.stack(frames), [focus_score(blur.radius_px) for blur in blurs]


def _optics(job: SeriesTask, rng: np.random.Generator) -> Optics:
    alpha_rad = log_uniform(rng, (2e-3, 8e-3))
    apart_um = job.astigmatism_dof * depth_of_focus_um(job.magnification, alpha_rad)
    turn = float(rng.uniform(0.0, 2.0 * np.pi))
    apart = (apart_um * np.cos(turn), apart_um * np.sin(turn))
    beam = Beam(kv=log_uniform(rng, _KV)) if job.is_wave_optical else None
    return Optics(alpha_rad=alpha_rad, astigmatism_um=apart, beam=beam)


def _tasks(
    specimens: Sequence[str],
    places_dof: Floats,
    *,
    astigmatism_dof: Sequence[float] = (0.0,),
    is_wave_optical: bool = False,
    each: int = 1,
    seed: int,
) -> list[SeriesTask]:
    """`each` series of all combinations in which there is something to see."""
    return [
        SeriesTask(
            specimen=name,
            magnification=magnification,
            places_dof=places_dof,
            astigmatism_dof=apart_dof,
            is_wave_optical=is_wave_optical,
            number=number,
            seed=seed,
        )
        for name, magnification, apart_dof, number in product(
            specimens, _MAGNIFICATIONS, astigmatism_dof, range(each)
        )
        if name != "gold_nanoparticles" or magnification > _MAGNIFICATIONS[0]
    ]


def astigmatic(judge: Judge, specimens: Sequence[str], *, seed: int, workers: int) -> Section:
    """Specimens with two line foci: is the score that of the longer axis?"""
    jobs = _tasks(specimens, _COARSE_DOF, astigmatism_dof=_ASTIGMATISM_DOF, seed=seed)
    found = list(curves(judge, jobs, workers=workers))
    lines = [f"{'astigmatism / DoF':<20}{'frames':>7}{'error, mean':>13}{'within 1':>10}"]
    for apart_dof in _ASTIGMATISM_DOF:
        errors = _errors([one for one in found if one.astigmatism_dof == apart_dof])
        lines.append(
            f"{apart_dof:<20g}{len(errors):>7}{errors.mean():>13.3f}{_share_close(errors):>10.3f}"
        )
    share = _share_close(_errors(found))
    return Section(
        key="astigmatism",
        title="Astigmatism",
        lines=lines,
        bars=[at_least("astigmatism of 0 to 4 DoF: share within 1", share, _CLOSE_SHARE)],
        numbers={"curves": [asdict(one) for one in found]},
    )


def families(
    judge: Judge, specimens: Sequence[str], *, each: int, seed: int, workers: int
) -> Section:
    """Kinds of specimen that mislead focus measures: how wide is the curve, and does the expected error know?"""
    jobs = _tasks(specimens, _COARSE_DOF, each=each, seed=seed)
    found = list(curves(judge, jobs, workers=workers))
    lines = [
        f"{'family':<14}{'frames':>7}{'error':>8}{'within 1':>10}{'width / DoF':>13}{'error > 2':>11}{'known':>8}"
    ]
    for name in specimens:
        some = [one for one in found if one.specimen == name]
        wrong, known = _owned_up(some)
        widths = [one.width_dof for one in some]
        lines.append(
            f"{name:<14}{len(_errors(some)):>7}{_errors(some).mean():>8.3f}{_share_close(_errors(some)):>10.3f}"
            f"{np.median(widths):>13.2f}{wrong:>11}{known:>8.2f}"
        )
    foam = float(np.median([one.width_dof for one in found if one.specimen == "foam"]))
    periodic = [one for one in found if one.specimen in ("lattice", "labyrinth")]
    return Section(
        key="families",
        title="Specimens that mislead focus measures",
        lines=[*lines, "known: of the errors above 2, how many were expected to be above 1.5"],
        bars=[
            at_most("foam: width of the curve over WD, DoF", foam, _WIDEST_DOF),
            at_least(
                "lattices: errors above 2 that are known", _owned_up(periodic)[1], _OWNED_UP_SHARE
            ),
        ],
        numbers={"curves": [asdict(one) for one in found]},
    )


def peaks(judge: Judge, specimens: Sequence[str], *, seed: int, workers: int) -> Section:
    """Specimens under wave-optical probes: does the score peak where the blur is least?"""
    jobs = _tasks(
        specimens, _FINE_DOF, astigmatism_dof=tuple(_OFF_DOF), is_wave_optical=True, seed=seed
    )
    found = list(curves(judge, jobs, workers=workers))
    lines = [f"{'astigmatism / DoF':<20}{'series':>7}{'off / DoF, median':>19}{'most':>7}"]
    bars = []
    for apart_dof, most_dof in _OFF_DOF.items():
        off = [abs(one.peak_dof) for one in found if one.astigmatism_dof == apart_dof]
        lines.append(f"{apart_dof:<20g}{len(off):>7}{np.median(off):>19.2f}{max(off):>7.2f}")
        bars.append(
            at_most(f"peak at {apart_dof:g} DoF of astigmatism: off, DoF", max(off), most_dof)
        )
    farthest = sorted(found, key=lambda one: -abs(one.peak_dof))[:5]
    named = [f"{one.specimen} {one.magnification:g}x {one.peak_dof:+.2f}" for one in farthest]
    return Section(
        key="peaks",
        title="Where the score peaks over the WD, with wave-optical probes",
        lines=[*lines, f"farthest: {', '.join(named)}"],
        bars=bars,
        numbers={"curves": [asdict(one) for one in found]},
    )


def _errors(found: Sequence[Curve]) -> Floats:
    return np.concatenate([one.errors for one in found])


def _share_close(errors: Floats) -> float:
    return float(np.mean(errors <= _CLOSE))


def _owned_up(found: Sequence[Curve]) -> tuple[int, float]:
    """How many scores are wrong, and the share of them whose expected error says so; 1 if none is wrong."""
    wrong = _errors(found) > _WRONG
    expected = np.concatenate([one.expected_errors for one in found])
    count = int(np.count_nonzero(wrong))
    return count, float(np.mean(expected[wrong] >= _OWNED_UP)) if count else 1.0
