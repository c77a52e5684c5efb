"""The test part of Dataset 1, judged: the basis of table 1, the calibration and the doubts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from afdaemon.evaluate.judged import Case, Judge, Judged, drawn, judged
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.metrics import Numbers
from afdaemon.sim.datasets.dataset1 import Dataset1, Part
from afdaemon.sim.datasets.scenes import LabelledFrames
from afdaemon.sim.truth import focus_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of a frame of Dataset 1; blur in pixels of a frame 320 px wide."""

    specimen: str
    blur_px: float

    @property
    def score(self) -> float:
        """The label, 0..9: neither rounded nor spread."""
        return focus_score(self.blur_px)


def _shots_of(frames: LabelledFrames) -> list[Shot]:
    """The frames of a scene with their control parameters."""
    return [
        Shot(
            pixels=frames.pixels[i],
            magnification=float(frames.magnification[i]),
            brightness=float(frames.brightness[i]),
            contrast=float(frames.contrast[i]),
            wd_um=float(frames.wd_um[i]),
        )
        for i in range(len(frames.pixels))
    ]


def cases(
    dataset: Dataset1, specimens: Sequence[str], *, scenes: int, workers: int
) -> Iterator[Case[Truth]]:
    """The frames of the first `scenes` test scenes of each specimen (all, where there are fewer)."""
    jobs = [
        (specimen, number)
        for specimen in specimens
        for number in islice(dataset.scenes(Part.TEST, specimen), scenes)
    ]
    found = drawn(lambda job: dataset.frames(*job), jobs, workers=workers)
    for (specimen, _), frames in zip(jobs, found, strict=True):
        for shot, blur_px in zip(_shots_of(frames), frames.blur_px, strict=True):
            yield Case(shot, Truth(specimen=specimen, blur_px=float(blur_px)))


def judge_test_part(
    judge: Judge, dataset: Dataset1, specimens: Sequence[str], *, scenes: int, workers: int
) -> list[Judged[Truth]]:
    """What `judge` says of them."""
    return list(judged(judge, cases(dataset, specimens, scenes=scenes, workers=workers)))


def scores_of(found: Sequence[Judged[Truth]]) -> tuple[Numbers, Numbers]:
    """What was said and what is true, (n,) each."""
    return np.array([one.said.score for one in found]), np.array([one.facts.score for one in found])
