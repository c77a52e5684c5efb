"""Each section is met by a scorer that knows the truth and missed by one that guesses."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.evaluate.aenet import (
    calibration,
    curves,
    held_back_micrographs,
    invariance,
    kim,
    order,
    out_of_distribution,
    table1,
    test_part,
)
from afdaemon.evaluate.aenet.test_part import Truth
from afdaemon.evaluate.judged import Case, Judged, drawn, judged
from afdaemon.evaluate.section import Section
from afdaemon.models.errors import WeightsError
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.base import FrameScorer
from afdaemon.sim.datasets.dataset1 import Dataset1
from afdaemon.sim.datasets.frames import held_back as is_held_back
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.surface import Patch
from afdaemon.sim.truth import focus_score

F = TypeVar("F")
SMALL = Dataset1(scenes_per_specimen=40, frames_per_scene=12, width_px=320, height_px=240)


def said(score: float, *, error: float = 0.2, doubt: str = "") -> Measures:
    return Measures(score=score, contrast=0.2, entropy=6.0, expected_error=error, doubt=doubt)


@dataclass
class Scripted:
    """Says what it was told to say, in that order, and remembers what it was shown."""

    scores: Sequence[float]
    shown: list[Shot] = field(default_factory=list)

    def judge(self, shots: Sequence[Shot]) -> list[Measures]:
        first = len(self.shown)
        self.shown += shots
        return [said(self.scores[(first + i) % len(self.scores)]) for i in range(len(shots))]


def answered(cases: Iterable[Case[F]], answer: Callable[[F], Measures]) -> list[Judged[F]]:
    return [Judged(case.facts, answer(case.facts)) for case in cases]


def guesses(seed: int = 0) -> Callable[[object], Measures]:
    rng = np.random.default_rng(seed)
    return lambda _: said(float(rng.uniform(0.0, 9.0)))


def holds(section: Section) -> list[bool]:
    return [bar.holds for bar in section.bars]


@pytest.fixture(scope="module")
def test_cases() -> list[Case[Truth]]:
    specimens = ("tin_balls", "butterfly_wing")
    return list(test_part.cases(SMALL, specimens, scenes=1, workers=2))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn picture, sharp once it is reduced, under a name that is held back."""
    folder = tmp_path_factory.mktemp("pictures")
    patch = Patch(left_um=0.0, top_um=0.0, step_um=0.13, width=960, height=720)
    grey = 255.0 * open_specimen("tin_balls", seed=3).draw(patch).secondary
    path = next(p for n in range(100) if is_held_back(p := folder / f"{n}.png"))
    cv2.imwrite(str(path), np.clip(grey, 0, 255).astype(np.uint8))
    return path


# Test part: table 1 and calibration


def test_table1_is_met_by_the_truth_and_missed_by_guesses(test_cases: list[Case[Truth]]) -> None:
    true = table1.conclude(answered(test_cases, lambda truth: said(truth.score)))
    assert len(true.bars) == 3 + 2  # a trained and an unseen specimen
    assert all(holds(true))
    assert true.numbers["tin_balls"]["published"]["correlation"] == 0.974
    assert not any(holds(table1.conclude(answered(test_cases, guesses()))))


def test_the_test_part_carries_truth_and_control_parameters(test_cases: list[Case[Truth]]) -> None:
    assert {case.facts.specimen for case in test_cases} == {"tin_balls", "butterfly_wing"}
    assert len({(case.shot.brightness, case.shot.wd_um) for case in test_cases}) > 10
    assert all(0.0 < case.facts.score <= 9.0 for case in test_cases)


def test_calibration_tells_promise_from_error() -> None:
    """Half of the frames promise .1 and keep it, the others promise 2 and err by 3."""
    truth = Truth(specimen="tin_balls", blur_px=0.0)
    kept = [Judged(truth, said(8.9, error=0.1))] * 50
    broken = [Judged(truth, said(6.0, error=2.0))] * 50
    found = calibration.conclude([*kept, *broken])
    first, *_, last = found.numbers["bins"]
    assert (first["promised_error"], first["within_1"]) == (pytest.approx(0.1), 1.0)
    assert (last["error"], last["within_1"]) == (pytest.approx(3.0), 0.0)
    assert found.numbers["confidence_gap"] == pytest.approx(
        0.5 * said(6.0, error=2.0).confidence, abs=1e-3
    )


# Micrographs


def test_series_of_a_held_back_picture(picture: Path) -> None:
    job = held_back_micrographs.SeriesTask(picture, 0, seed=1)
    truth = [focus_score(2.0 * abs(at)) for at in held_back_micrographs.OFFSETS_DOF]
    judge = Scripted(truth)
    rows = list(held_back_micrographs.rows(judge, [job], workers=2))
    assert rows[0].reduction is not None
    assert all(holds(held_back_micrographs.conclude(rows)))
    middle = len(truth) // 2
    assert sharpness(judge.shown[middle]) > 2.0 * sharpness(judge.shown[0])

    rng = np.random.default_rng(2)
    guessed = list(
        held_back_micrographs.rows(Scripted(rng.permutation(truth).tolist()), [job], workers=2)
    )
    assert not any(holds(held_back_micrographs.conclude(guessed)))


def sharpness(shot: Shot) -> float:
    smooth = cv2.GaussianBlur(shot.pixels.astype(np.float32), (0, 0), 2.0)
    return float(cv2.Laplacian(smooth, cv2.CV_32F).std())


def test_a_soft_picture_is_named_and_not_under_the_bars() -> None:
    job = held_back_micrographs.SeriesTask(Path("folder/soft.png"), 0, seed=1)
    truth = [focus_score(2.0 * abs(at)) for at in held_back_micrographs.OFFSETS_DOF]
    sharp = held_back_micrographs.row_of(job, 4.0, held_back_micrographs.OFFSETS_DOF, truth)
    soft = held_back_micrographs.row_of(
        job, None, held_back_micrographs.OFFSETS_DOF, truth[::-1][:30] + truth[:31]
    )
    found = held_back_micrographs.conclude([sharp, soft])
    assert all(holds(found))
    assert "folder/soft.png" in found.lines[-1]
    assert not any(
        holds(held_back_micrographs.conclude([soft]))
    )  # nothing shown is nothing promised


def test_only_held_back_pictures_are_measured(picture: Path) -> None:
    other = next(p for n in range(100) if not is_held_back(p := picture.with_name(f"{n}.png")))
    found = held_back_micrographs.measure(Scripted([5.0]), [other], series=1, seed=1, workers=2)
    assert found.numbers["series"] == []
    assert not any(holds(found))


def test_order_is_met_by_the_truth_and_missed_by_guesses(picture: Path) -> None:
    cases = list(order.cases([picture], repeats=2, seed=1))
    assert len(cases) == len(order.RADII_PX) * len(order.SIGMAS) * 2
    true = order.conclude(answered(cases, lambda worn: said(focus_score(worn.radius_px))))
    assert all(holds(true))
    assert not any(holds(order.conclude(answered(cases, guesses()))))


def test_a_noisier_frame_that_wins_is_named(picture: Path) -> None:
    cases = order.cases([picture], repeats=1, seed=1)
    found = order.conclude(
        answered(cases, lambda worn: said(focus_score(worn.radius_px) + 0.05 * worn.sigma))
    )
    assert holds(found) == [True, False]
    assert found.numbers["largest_lead_of_noise"] == pytest.approx(1.0)


@pytest.mark.parametrize("radius_px", [2, 4, 8])
def test_the_disc_has_the_variance_of_a_disc_seen_in_pixels(radius_px: int) -> None:
    disc = order.disc(radius_px)
    at = np.arange(len(disc)) - len(disc) // 2
    assert float(disc.sum()) == pytest.approx(1.0)
    variance = float((disc * (at**2)[None, :]).sum())
    assert variance == pytest.approx(radius_px**2 / 4 + 1 / 12, abs=0.06)


# Rivals


@dataclass
class Fixed:
    """Scores known beforehand; a shorter list of frames is taken to be its beginning."""

    name: str
    values: NDArray[np.float64]

    def scores(self, shots: Sequence[Shot]) -> NDArray[np.float64]:
        assert all(shot.pixels.shape == (kim.CROP_PX, kim.CROP_PX) for shot in shots)
        return self.values[: len(shots)]


def rows_with_errors(cases: list[Case[Truth]], errors: dict[str, float]) -> list[kim.Row]:
    """A scorer that errs by so much on every crop, for each name; NaN is not trained."""
    crops = [Case(kim.cropped(case.shot), case.facts) for case in cases]
    true = np.array([case.facts.score for case in cases])

    def opened(name: str) -> FrameScorer:
        if math.isnan(errors[name]):
            raise WeightsError("absent", remedy=f"train {name}")
        return Fixed(name, true + errors[name])

    return list(kim.compare(list(errors), opened, crops, classical=("Entropy", "Vollath F4")))


def test_the_comparison_names_who_is_better(test_cases: list[Case[Truth]]) -> None:
    good = {"AENet.compact": 0.2, "PACF": 0.8, "VGG19": math.nan, "Entropy": 2.0, "Vollath F4": 1.0}
    rows = rows_with_errors(test_cases, good)
    assert [row.rmse for row in rows if row.rmse is not None] == pytest.approx([0.2, 0.8, 2.0, 1.0])
    assert rows[2].note == "not trained: train VGG19"
    assert all(row.seconds is not None for row in rows if row.name != "VGG19")
    assert holds(kim.conclude(rows, 8)) == [True, True, True]
    worse_rival = rows_with_errors(test_cases, good | {"PACF": 1.1})
    assert holds(kim.conclude(worse_rival, 8)) == [False, True, True]
    worse_ours = rows_with_errors(test_cases, good | {"AENet.compact": 0.9})
    assert holds(kim.conclude(worse_ours, 8)) == [True, False, False]


def test_what_was_not_compared_is_missed(test_cases: list[Case[Truth]]) -> None:
    alone = rows_with_errors(test_cases, {"AENet.compact": 0.2, "PACF": math.nan})
    assert holds(kim.conclude(alone, 8)) == [False, False, False]


# Curves, invariance, strangers


def test_curves_show_that_the_maxima_of_the_score_are_alike() -> None:
    judge = Scripted([focus_score(2.0 * abs(at)) for at in curves.OFFSETS_DOF])
    found = curves.measure(judge, {"tin_balls": (1000.0, 4000.0)}, seed=1, workers=2)
    assert found.numbers["relative_spread"]["score"] == 0.0
    first, second = found.numbers["curves"]
    assert max(first["score"]) == 9.0
    assert first["offset_um"][-1] > second["offset_um"][-1] > 0.0
    assert set(found.figures) == {"curves"}


def test_invariance_is_met_by_focus_alone_and_missed_by_guesses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(invariance, "BLURS_PX", (0.0, 8.0))
    cases = list(invariance.cases(("ruled",), places=1, seed=1, workers=2))
    assert {case.facts.what for case in cases} == {"", *invariance.CHANGES}
    assert len({case.facts.base for case in cases}) == len(invariance.BLURS_PX)
    true = answered(cases, lambda change: said(focus_score(float(change.base.split()[2]))))
    assert all(holds(invariance.conclude(true)))
    assert not any(holds(invariance.conclude(answered(cases, guesses()))))


def test_a_data_bar_leaves_the_frame_as_it_was() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
    assert np.array_equal(invariance.cropped_again(frame), frame)


def test_strangers_are_to_be_doubted_and_nobody_else(test_cases: list[Case[Truth]]) -> None:
    cases = list(out_of_distribution.cases(each=2, seed=1))
    kinds = {case.facts.kind for case in cases}
    assert kinds == {"blank", "saturated", "text", "photograph", "noise"}
    assert all(case.shot.pixels.shape == (240, 320) for case in cases)
    doubted = answered(cases, lambda _: said(3.0, doubt="blank"))
    sure = answered(test_cases, lambda truth: said(truth.score))
    assert holds(out_of_distribution.conclude(doubted, sure)) == [True, True]
    wrong = answered(test_cases, lambda truth: said(truth.score, doubt="blank"))
    assert holds(out_of_distribution.conclude(answered(cases, guesses()), wrong)) == [False, False]


def test_a_doubt_needs_a_reason() -> None:
    assert not out_of_distribution.is_doubted(said(3.0, error=10.0))
    assert out_of_distribution.is_doubted(said(3.0, doubt="blank"))


# Frames and judges


def test_every_case_keeps_its_facts(test_cases: list[Case[Truth]]) -> None:
    judge = Scripted([case.facts.score for case in test_cases])
    for one in judged(judge, test_cases):
        assert one.said.score == one.facts.score


@pytest.mark.parametrize("workers", [1, 3])
def test_what_threads_draw_comes_in_order(workers: int) -> None:
    jobs = [float(n) for n in range(12)]
    assert list(drawn(math.sqrt, jobs, workers=workers)) == [math.sqrt(job) for job in jobs]
