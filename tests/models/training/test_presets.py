"""The published trainings are the published ones, and a preset that is not there is told."""

import pytest

from afdaemon.models.acnet import presets as acnet_presets
from afdaemon.models.errors import TrainingError
from afdaemon.models.scorers import zoo
from afdaemon.models.training.presets import PRESETS, preset_called


def test_the_published_training_of_aenet() -> None:
    preset = preset_called("published")
    settings = preset.settings
    assert (settings.optimiser, settings.learning_rate, settings.eps) == ("adam", 0.01, 1e-12)
    assert (settings.weight_decay, settings.batch) == (5e-4, 90)
    assert (settings.schedule, settings.patience) == ("plateau", 10)
    epoch = settings.validate_every
    assert epoch * settings.batch == pytest.approx(21_000, rel=0.005)
    assert settings.steps == 200 * epoch
    assert (preset.augmentation.width_px, preset.augmentation.height_px) == (320, 240)
    assert preset.augmentation.flips
    assert preset.expert_spread == 0.5


def test_the_published_training_of_the_rivals() -> None:
    preset = preset_called("kim")
    assert preset.settings.learning_rate == 1.5e-4
    assert preset.settings.steps == 100 * preset.settings.validate_every
    assert preset.augmentation.quarter_turns
    assert preset.augmentation.width_px == preset.augmentation.height_px == 224


def test_every_network_names_a_preset_that_there_is() -> None:
    assert {entry.preset for entry in zoo.NETWORKS.values()} <= set(PRESETS)


@pytest.mark.parametrize(("name", "guess"), [("publshed", "mean published"), ("", "''")])
def test_an_unknown_preset_is_told(name: str, guess: str) -> None:
    with pytest.raises(TrainingError, match=guess) as caught:
        preset_called(name)
    assert "kim-cpu" in caught.value.remedy


def test_the_published_training_of_acnet() -> None:
    preset = acnet_presets.PRESETS["published"]
    config = preset.config
    assert (preset.series, preset.dataset2) == (91, True)
    assert (config.batch, config.learning_rate, config.episodes) == (90, 0.01, 3000)
    assert (config.exploration, config.exploration_decay, config.steps_beyond) == (0.5, 0.995, 20)
    assert config.squares
    assert config.final_rate == 1.0
    assert not config.standardised
