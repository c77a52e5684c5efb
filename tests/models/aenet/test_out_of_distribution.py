"""What resembles the training frames lies near them, what does not lies far away."""

import torch

from afdaemon.models.aenet.out_of_distribution import RARE, Familiarity, features_of, fit


def training_features(count: int = 4000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(6, 6, generator=generator)
    return torch.randn(count, 6, generator=generator) @ mixing + 3.0


def test_few_training_frames_are_unfamiliar() -> None:
    features = training_features()
    beyond = (fit(features).distance(features) > 1.0).float().mean()
    assert abs(float(beyond) - RARE) < 1e-3


def test_what_is_far_in_a_narrow_direction_is_unlike_all() -> None:
    features = training_features()
    familiar = fit(features)
    _, _, directions = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    wide, narrow = (features.mean(0) + 4.0 * directions[i] for i in (0, -1))
    near, far = familiar.distance(torch.stack([wide, narrow])).tolist()
    assert near < far
    assert far > 1.0


def test_it_is_stored_and_read_again() -> None:
    familiar = fit(training_features())
    again = Familiarity.of(familiar.tensors())
    x = training_features(5)
    assert torch.equal(again.distance(x), familiar.distance(x))


def test_spots_that_tell_nothing_do_not_count() -> None:
    features = torch.zeros(1, 2, 1, 2)
    features[0, :, 0, 1] = 5.0
    maps = torch.zeros(1, 3, 1, 2)
    maps[0, 1, 0, 0] = 30.0
    assert features_of(features, maps).abs().max() < 1e-6
