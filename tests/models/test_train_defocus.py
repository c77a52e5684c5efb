"""The defocus network learns from a bank where the focus is; its weights come back as they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from afdaemon.control.belief import advise
from afdaemon.control.fast_profile import FastProfile
from afdaemon.models import train_defocus
from afdaemon.models.defocus_bank import PLACES_DOF, DefocusBank, load_banks, save_banks
from afdaemon.models.defocus_net import DefocusNet, load_defocus
from afdaemon.models.errors import TrainingError, WeightsError
from afdaemon.models.spectrum import BANDS, PAIRS
from afdaemon.models.train_defocus import Moves, Runs, TrainConfig

CONFIG = TrainConfig(rounds=30, runs=256, batch=512, updates=8, replay=20_000, starts_dof=(12.0,))


def bank(scenes: int = 40, seed: int = 1) -> DefocusBank:
    """Power laws of many slopes that defocus cuts off, over some noise; AENet that is right within a tenth."""
    rng = np.random.default_rng(seed)
    frequency = np.geomspace(0.01, 0.45, BANDS)
    blur_px = 2.0 * np.abs(PLACES_DOF)[None, :, None]
    slope, level = rng.uniform(1.0, 3.0, (scenes, 1, 1)), rng.uniform(-9.0, -5.0, (scenes, 1, 1))
    signal = np.exp(level - 2.0) * frequency**-slope / (1.0 + (5.0 * blur_px * frequency) ** 2) ** 2
    u = -2.0 * np.log(np.maximum(blur_px[:, :, 0], 0.5) / 4.0) + 0.1 * rng.standard_normal(
        (scenes, 1)
    )
    bands = np.log(signal + 1e-5)
    directions = np.zeros((*bands.shape[:2], 2 * PAIRS))
    return DefocusBank(
        bands=np.concatenate([bands, directions], axis=2).astype(np.float32),
        u=u.astype(np.float32),
        log_error=np.full(u.shape, -1.5, np.float32),
    )


def runs_of(measured: DefocusBank) -> Runs:
    rng = np.random.default_rng(0)
    fields = measured.mixed_fields(CONFIG.runs, rng, mixed=0.5, apart_dof=1.0)
    return Runs(measured, fields, CONFIG, rng)


def decide(mass: np.ndarray, count: np.ndarray) -> Moves:
    return advise(mass, count, FastProfile(sure=0.8))


def test_a_little_training_finds_the_focus_of_unseen_scenes() -> None:
    losses: list[float] = []
    network = train_defocus.train(CONFIG, bank(), decide, lambda *told: losses.append(told[2]))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    trained = train_defocus.evaluate(network, bank(seed=2), CONFIG, decide)
    fresh = train_defocus.evaluate(DefocusNet().eval(), bank(seed=2), CONFIG, decide)
    assert trained["within_2_dof"] > 0.6 > fresh["within_2_dof"] + 0.2


def test_runs_stand_where_their_moves_lead() -> None:
    runs = runs_of(bank())
    before = runs.defocus_dof
    runs.move(np.full(CONFIG.runs, 2.5))
    assert np.allclose(runs.defocus_dof - before, 2.5)
    runs.move(np.full(CONFIG.runs, 1e6))
    assert np.allclose(runs.true_dof, PLACES_DOF[-1])
    assert set(runs.count) == {1}
    runs.read()
    assert np.allclose(runs.seen().wd_dof[:, 0], runs.defocus_dof)
    assert np.allclose(runs.seen().wd_dof[:, 1], before)


def test_a_bank_reads_what_was_measured_there() -> None:
    measured = bank(3)
    scene = np.array([0, 1, 2])
    for place in (0, 5, 19, 37):
        away = np.full(3, PLACES_DOF[place])
        many = [
            measured.read(measured.plain_fields(scene), away, np.random.default_rng(k))[0]
            for k in range(400)
        ]
        assert np.allclose(np.mean(many, axis=0), measured.bands[:, place], atol=0.1)


def test_two_scenes_side_by_side_are_in_focus_where_their_detail_lies() -> None:
    measured = bank(20)
    rng = np.random.default_rng(4)
    fields = measured.mixed_fields(500, rng, mixed=0.5, apart_dof=2.0)
    assert np.allclose((fields.heights_dof * fields.detail).sum(axis=1), 0.0, atol=1e-6)
    assert np.allclose(fields.area.sum(axis=1), 1.0)
    alone = fields.area[:, 1] == 0.0
    assert 0.4 < alone.mean() < 0.6
    assert (fields.heights_dof[alone, 0] == 0.0).all()
    assert np.abs(fields.heights_dof[~alone]).max() > 1.0
    bands, u, log_error = measured.read(fields, np.zeros(500), rng)
    for told in (bands, u, log_error):
        assert np.isfinite(told).all()


def test_the_parts_of_a_field_add_their_powers() -> None:
    measured = bank(2)
    plain = measured.plain_fields(np.zeros(300, np.int64))
    half = np.full((300, 2), 0.5, np.float32)
    both = replace(plain, scenes=np.tile(np.array([0, 1]), (300, 1)), area=half, detail=half)
    said = measured.read(both, np.zeros(300), np.random.default_rng(1))[0].mean(axis=0)
    middle = measured.bands[:, len(PLACES_DOF) // 2, :BANDS]
    assert said[:BANDS] == pytest.approx(np.log(np.exp(middle).mean(axis=0)), abs=0.1)


def test_frames_of_one_place_differ_most_where_noise_is_all_there_is() -> None:
    measured = bank(1)
    plain = measured.plain_fields(np.zeros(4000, np.int64))
    rng = np.random.default_rng(3)
    far = np.full(4000, PLACES_DOF[-1])
    said = measured.read(plain, far, rng)[0].std(axis=0)
    signal = measured.read(plain, 0.0 * far, rng)[0].std(axis=0)
    modes = 5.0 * 1.57 ** np.arange(BANDS)
    assert said[6:BANDS] == pytest.approx(np.sqrt(4e-4 + 1.8 / modes[6:]), rel=0.1)
    assert (signal[:3] < 0.5 * said[:3]).all()
    assert (said[BANDS + 4 :] > said[8:BANDS:2].min()).all()


def test_banks_come_back_unless_they_were_made_with_something_else(tmp_path: Path) -> None:
    file = tmp_path / "bank.safetensors"
    save_banks(file, {"trained": bank(3), "unseen": bank(2)}, {"seed": "4", "scored_by": "abc"})
    again = load_banks(file, {"seed": "4", "scored_by": "abc"})
    assert {name: len(one) for name, one in again.items()} == {"trained": 3, "unseen": 2}
    assert np.array_equal(again["trained"].bands, bank(3).bands)
    with pytest.raises(TrainingError, match=r"seed = 4, not 5"):
        load_banks(file, {"seed": "5", "scored_by": "abc"})
    file.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="no bank of scenes"):
        load_banks(file, {"seed": "4"})


def test_weights_come_back_and_tampered_ones_do_not(tmp_path: Path) -> None:
    network = DefocusNet(hidden=16).eval()
    path = tmp_path / "defocus.safetensors"
    train_defocus.save(network, path, config=CONFIG, data={}, metrics={}, seconds=1.0)
    again, card = load_defocus(path)
    seen = runs_of(bank()).seen()
    assert np.allclose(again.mass(seen), network.mass(seen), atol=1e-2)
    assert card.training["runs"] == CONFIG.runs
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match="SHA-256"):
        load_defocus(path)


def test_a_belief_knows_no_side() -> None:
    network = DefocusNet(hidden=16).eval()
    seen = runs_of(bank()).seen()
    one = network.mass(seen)
    assert np.allclose(one[:8], one[:8, ::-1], atol=1e-6)  # a single frame cannot tell
    assert np.allclose(one.sum(axis=1), 1.0, atol=1e-4)
