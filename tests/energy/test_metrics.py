"""Scores as published."""

import numpy as np
import pytest

from afdaemon.energy.metrics import agreement, mean_agreement, transposed
from afdaemon.energy.specimens.structures import report_pads, volume_of


def test_two_by_hand() -> None:
    truth = np.array([[[0, 0, 1, 2]]], np.uint8)
    found = np.array([[[0, 1, 1, 2]]], np.uint8)
    score = agreement(found, truth)
    assert score.ious == pytest.approx((1 / 2, 1 / 2, 1.0), abs=1e-6)
    assert score.recalls == pytest.approx((1 / 2, 1.0, 1.0), abs=1e-6)
    assert (score.iou, score.accuracy) == pytest.approx((2 / 3, 3 / 4), abs=1e-6)


def test_a_class_that_neither_has_counts_as_found() -> None:
    nothing = np.zeros((2, 3, 3), np.uint8)
    assert agreement(nothing, nothing).ious == (1.0, 1.0, 1.0)


def test_means_are_over_volumes_not_over_voxels() -> None:
    small, large = np.ones((1, 1, 1), np.uint8), np.ones((1, 8, 8), np.uint8)
    scores = [agreement(small, small), agreement(np.zeros_like(large), large)]
    assert mean_agreement(scores).accuracy == 0.5


def test_a_perfect_answer_against_the_turned_pads_scores_what_the_report_could_reach() -> None:
    """The best published row of this table, .734, lies close below."""
    pads = volume_of(report_pads(), 16)
    turned = agreement(pads, transposed(pads))
    assert (turned.iou, turned.recall, turned.accuracy) == pytest.approx(
        (0.751, 0.820, 0.983), abs=2e-3
    )
