"""The defocus network learns from a bank where the focus is; its weights come back as they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from afdaemon.control.fast.posterior import advise
from afdaemon.control.fast.profile import FastProfile
from afdaemon.models.defocus import train as train_defocus
from afdaemon.models.defocus.banks import load_banks, save_banks
from afdaemon.models.defocus.network import DefocusNet, load_defocus
from afdaemon.models.defocus.scenes import DISTANCES_DOF, DefocusBank
from afdaemon.models.defocus.state import SCALES, Posterior
from afdaemon.models.defocus.train import Moves, Runs, TrainConfig
from afdaemon.models.errors import TrainingError, WeightsError
from afdaemon.models.frames.spectrum import BANDS

CONFIG = TrainConfig(rounds=30, runs=256, batch=512, updates=8, replay=20_000, starts_dof=(12.0,))


def bank(scenes: int = 40, seed: int = 1) -> DefocusBank:
    """Power laws of many slopes that defocus cuts off, over some noise; AENet that is right within a tenth."""
    rng = np.random.default_rng(seed)
    frequency = np.geomspace(0.01, 0.45, BANDS)
    blur_px = 2.0 * DISTANCES_DOF[None, :, None]
    slope, level = rng.uniform(1.0, 3.0, (scenes, 1, 1)), rng.uniform(-9.0, -5.0, (scenes, 1, 1))
    signal = np.exp(level - 2.0) * frequency**-slope / (1.0 + (5.0 * blur_px * frequency) ** 2) ** 2
    u = -2.0 * np.log(np.maximum(blur_px[:, :, 0], 0.5) / 4.0) + 0.1 * rng.standard_normal(
        (scenes, 1)
    )
    twice = np.array([-0.02, 0.02])[None, :, None]
    bands = np.log(signal + 1e-5)[:, None] + twice[..., None]
    return DefocusBank(
        bands=bands.astype(np.float32),
        u=(u[:, None] + twice).astype(np.float32),
        log_error=np.full((scenes, 2, len(DISTANCES_DOF)), -1.5, np.float32),
    )


def decide(posterior: Posterior, count: np.ndarray) -> Moves:
    return advise(posterior, count, FastProfile(confidence=0.8))


def test_a_little_training_finds_the_focus_of_unseen_scenes() -> None:
    losses: list[float] = []
    network = train_defocus.train(CONFIG, bank(), decide, lambda *told: losses.append(told[2]))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    trained = train_defocus.evaluate(network, bank(seed=2), CONFIG, decide)
    fresh = train_defocus.evaluate(DefocusNet().eval(), bank(seed=2), CONFIG, decide)
    assert trained["within_2_dof"] > 0.6 > fresh["within_2_dof"] + 0.2


def test_runs_stand_where_their_moves_lead() -> None:
    runs = Runs(bank(), CONFIG, np.random.default_rng(0))
    before = runs.defocus_dof
    runs.move(np.full(CONFIG.runs, 2.5))
    assert np.allclose(runs.defocus_dof - before, 2.5)
    runs.move(np.full(CONFIG.runs, 1e6))
    assert np.allclose(runs.true_dof, DISTANCES_DOF[-1])
    assert set(runs.count) == {1}
    runs.read()
    assert np.allclose(runs.seen().wd_dof[:, 0], runs.defocus_dof)
    assert np.allclose(runs.seen().wd_dof[:, 1], before)


def test_a_bank_reads_what_was_measured_there() -> None:
    measured = bank(3)
    scene = np.array([0, 1, 2])
    for place in (0, 5, 17):
        away = np.full(3, DISTANCES_DOF[place])
        many = [
            measured.read(scene, s * away, np.random.default_rng(k))[0]
            for k in range(200)
            for s in (1, -1)
        ]
        assert np.allclose(
            np.mean(many, axis=0), measured.bands[:, :, place].mean(axis=1), atol=0.1
        )


def test_weights_come_back_and_tampered_ones_do_not(tmp_path: Path) -> None:
    network = DefocusNet(hidden=16).eval()
    path = tmp_path / "defocus.safetensors"
    train_defocus.save(network, path, config=CONFIG, data={}, metrics={}, seconds=1.0)
    again, card = load_defocus(path)
    seen = Runs(bank(), CONFIG, np.random.default_rng(0)).seen()
    one, other = again.infer(seen), network.infer(seen)
    assert np.allclose(one.mass, other.mass, atol=1e-2)
    assert np.allclose(one.odds, other.odds, atol=1e-2)
    assert card.training["runs"] == CONFIG.runs
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match="SHA-256"):
        load_defocus(path)


def test_a_belief_knows_no_side() -> None:
    network = DefocusNet(hidden=16).eval()
    seen = Runs(bank(), CONFIG, np.random.default_rng(0)).seen()
    one = network.infer(seen).mass
    assert np.allclose(one[:8], one[:8, ::-1], atol=1e-6)  # a single frame cannot tell
    assert np.allclose(one.sum(axis=1), 1.0, atol=1e-4)


def test_it_learns_how_far_off_the_assumed_angle_is() -> None:
    network = train_defocus.train(CONFIG, bank(), decide, lambda *_: None)
    runs = Runs(bank(seed=2), replace(CONFIG, runs=2048), np.random.default_rng(3))
    for _ in range(4):
        runs.move(decide(network.infer(runs.seen()), runs.count).step_dof)
        runs.read()
    told = network.infer(runs.seen()).odds @ np.log(SCALES)
    truth = np.log(runs.scale)
    off = ~runs.calibrated
    assert np.corrcoef(told[off], truth[off])[0, 1] > 0.3
    assert np.abs(told[~off]).mean() < 0.1


def test_measured_scenes_are_kept_in_a_file_that_says_how_they_were_made(tmp_path: Path) -> None:
    path, facts = tmp_path / "deep" / "scenes.npz", {"scenes": 3, "read_noise": (0.5, 15.0)}
    save_banks(path, {"used": bank(3), "kept": bank(2, seed=2)}, facts)
    used, kept = load_banks(DefocusBank, path, ("used", "kept"), facts)
    assert (used.bands == bank(3).bands).all()
    assert (kept.u == bank(2, seed=2).u).all()
    assert (kept.log_error == bank(2, seed=2).log_error).all()
    with pytest.raises(TrainingError, match="made with other settings"):
        load_banks(DefocusBank, path, ("used", "kept"), {**facts, "scenes": 4})
    with pytest.raises(TrainingError, match="no measured scenes"):
        load_banks(DefocusBank, path, ("other",), facts)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="no measured scenes"):
        load_banks(DefocusBank, path, ("used", "kept"), facts)
