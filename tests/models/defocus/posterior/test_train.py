"""The posterior's network learns from a bank where the focus is; its weights come back as they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from afdaemon.control.fast.aim.rule import advise
from afdaemon.models.defocus.banks import load_banks, save_banks
from afdaemon.models.defocus.posterior import train as train_posterior
from afdaemon.models.defocus.posterior.bank import DISTANCES_DOF, PLACES, Bank
from afdaemon.models.defocus.posterior.network import PosteriorNet, load_posterior
from afdaemon.models.defocus.posterior.tokens import Posterior
from afdaemon.models.defocus.posterior.train import Jobs, Moves, TrainConfig
from afdaemon.models.errors import TrainingError, WeightsError
from afdaemon.models.frames.spectrum import BANDS

CONFIG = TrainConfig(
    rounds=14,
    jobs=128,
    batch=256,
    updates=10,
    readings=5,
    replay=4_000,
    learning_rate=2e-3,
    starts_dof=(12.0,),
)


def bank(scenes: int = 40, seed: int = 1) -> Bank:
    """Power laws of many slopes that defocus cuts off, over some noise; every eighth field is bare."""
    rng = np.random.default_rng(seed)
    frequency = np.geomspace(0.01, 0.45, BANDS)
    blur_px = 2.0 * np.abs(DISTANCES_DOF)[None, :, None]
    slope, level = rng.uniform(1.0, 3.0, (scenes, 1, 1)), rng.uniform(-9.0, -5.0, (scenes, 1, 1))
    shows = (np.arange(scenes) % 8 != 7).astype(np.float32)
    signal = np.exp(level - 2.0) * frequency**-slope / (1.0 + (5.0 * blur_px * frequency) ** 2) ** 2
    signal = signal * shows[:, None, None]
    u = -2.0 * np.log(np.maximum(blur_px[:, :, 0], 0.5) / 4.0) * shows[:, None]
    contrast = 0.02 + np.sqrt(signal.sum(axis=2))
    return Bank(
        bands=np.log(signal + 1e-5).astype(np.float32),
        u=u.astype(np.float32),
        log_error=np.full((scenes, PLACES), -1.5, np.float32),
        contrast=contrast.astype(np.float32),
        doubted=np.tile(1.0 - shows[:, None], (1, PLACES)).astype(np.float32),
        shows=shows,
    )


def decide(posterior: Posterior, read_dof: np.ndarray) -> Moves:
    return advise(posterior, read_dof, 5.0)


def test_a_little_training_finds_the_focus_of_unseen_scenes() -> None:
    losses: list[float] = []
    network = train_posterior.train(CONFIG, bank(), decide, lambda *told: losses.append(told[2]))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    trained = train_posterior.evaluate(network, bank(seed=2), CONFIG, decide)
    fresh = train_posterior.evaluate(PosteriorNet().eval(), bank(seed=2), CONFIG, decide)
    assert trained["within_1_dof"] > fresh["within_1_dof"] + 0.1
    assert trained["stopped_on_nothing"] <= 0.2


def test_jobs_stand_where_their_moves_lead() -> None:
    steady = replace(CONFIG, drifting_share=0.0, lagging_share=0.0)
    jobs = Jobs(bank(), steady, np.random.default_rng(0))
    before = jobs.defocus_dof
    jobs.move(np.full(CONFIG.jobs, 2.5))
    assert np.allclose(jobs.defocus_dof - before, 2.5)
    assert np.allclose(jobs.read_dof, -2.5)
    jobs.read()
    assert jobs.seen().wd_dof.shape == (CONFIG.jobs, 2)
    assert np.allclose(jobs.seen().wd_dof[:, 0] - jobs.seen().wd_dof[:, 1], 2.5)


def test_a_drifting_focus_moves_from_one_reading_to_the_next() -> None:
    drifting = replace(CONFIG, drifting_share=1.0, lagging_share=0.0)
    jobs = Jobs(bank(), drifting, np.random.default_rng(0))
    before = jobs.true_dof
    jobs.move(np.zeros(CONFIG.jobs))
    moved = np.abs(jobs.true_dof - before)
    assert 0.0 < moved.mean() < moved.max() <= CONFIG.drift_dof
    assert np.allclose(jobs.read_dof, 0.0), "the lens has not moved"


def test_a_lens_that_lags_stays_behind_on_either_way_and_does_not_know() -> None:
    lagging = replace(CONFIG, drifting_share=0.0, lagging_share=1.0)
    jobs = Jobs(bank(), lagging, np.random.default_rng(0))
    jobs.move(np.full(CONFIG.jobs, 5.0))
    upward = jobs.true_dof
    jobs.move(np.full(CONFIG.jobs, 5.0))
    jobs.move(np.full(CONFIG.jobs, -5.0))
    apart = jobs.true_dof - upward
    assert 0.0 < apart.mean() < apart.max() <= 2.0 * CONFIG.lag_dof
    assert np.allclose(jobs.read_dof[:, 0], -5.0), "the readback says where it was sent"


def test_a_bank_reads_what_was_measured_there() -> None:
    measured, scene = bank(3), np.array([0, 1, 2])
    for place in (0, 5, 20, 33):
        away = np.full(3, DISTANCES_DOF[place])
        many = [measured.read(scene, away, np.random.default_rng(k)).bands for k in range(400)]
        assert np.allclose(np.mean(many, axis=0), measured.bands[:, place], atol=0.1)


def test_banks_come_back_as_they_were(tmp_path: Path) -> None:
    file, facts = tmp_path / "bank.npz", {"scenes": 3}
    save_banks(file, {"used": bank(3), "kept": bank(2)}, facts)
    used, kept = load_banks(Bank, file, ("used", "kept"), facts)
    assert (len(used), len(kept)) == (3, 2)
    assert np.array_equal(used.contrast, bank(3).contrast)
    with pytest.raises(TrainingError, match="other settings"):
        load_banks(Bank, file, ("used", "kept"), {"scenes": 4})


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    file, network = tmp_path / "posterior.safetensors", PosteriorNet(width=32, layers=1, heads=2)
    train_posterior.save(network, file, config=CONFIG, data={"scenes": 3}, metrics={}, seconds=1.0)
    loaded, card = load_posterior(file)
    assert card.arguments == {"width": 32, "layers": 1, "heads": 2}
    for name, value in network.state_dict().items():
        assert np.allclose(loaded.state_dict()[name], value, atol=2e-3)
    file.write_bytes(b"broken")
    with pytest.raises(WeightsError):
        load_posterior(file)
