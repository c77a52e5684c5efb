"""`afdaemon train` from the outside: what it writes, what it goes on from, and what it refuses."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app
from afdaemon.drivers.wire.labelled_files import Labelled, encode_labelled
from afdaemon.evaluate import series as evaluate_series
from afdaemon.models import shipped
from afdaemon.models.acnet.focus_series import FocusSeries
from afdaemon.models.aenet.out_of_distribution import load_aenet
from afdaemon.models.defocus.network import load_defocus
from afdaemon.models.scorers import zoo
from afdaemon.models.scorers.focus_scorer import load_scorer
from afdaemon.models.scorers.networks import aenet_reference, resnet, vgg
from afdaemon.models.scorers.networks.base import ScoringNetwork
from afdaemon.models.training.labelled_folder import part_of
from afdaemon.sim.datasets import series
from afdaemon.sim.datasets.series import ImagedSeries

SCENES = {
    part: next(f"scene{n}" for n in count() if part_of(f"scene{n}") == part)
    for part in ("train", "validate")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames to learn from and two that judge, as the instrument writes them."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(1)
    for scene in SCENES.values():
        for number, score in ((1, 2.0), (2, 8.0)):
            pixels = rng.integers(0, 255, (240, 320), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{scene}-{number}.jpg"), pixels)
            label = Labelled(magnification=1000, wd_um=12_000.0, score=score)
            (folder / f"{scene}-{number}.txt").write_bytes(encode_labelled(label))
    return folder


def train(*words: str | Path) -> int:
    return run_app(app, program="afdaemon", args=["train", *map(str, words)])


def train_scorer(name: str, folder: Path, out: Path, *words: str | Path) -> int:
    common = ("--data", folder, "--out", out, "--keep", out.parent / "kept", "--workers=0")
    return train("scorer", name, "--steps=2", "--batch=2", *common, *words)


def narrow_reference() -> ScoringNetwork:
    return ScoringNetwork(
        name=aenet_reference.NAME,
        module=aenet_reference.AENetReference(width=2),
        preprocessing=aenet_reference.PREPROCESSING,
        prepare=aenet_reference.prepare,
    )


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deepest networks with all their layers and a few of their channels."""
    monkeypatch.setitem(
        zoo.NETWORKS,
        aenet_reference.NAME,
        replace(zoo.NETWORKS[aenet_reference.NAME], build=narrow_reference),
    )
    monkeypatch.setattr(vgg, "WIDTHS", (8, 8, 8, 8, 8))
    monkeypatch.setattr(vgg, "FEATURES", 16)
    monkeypatch.setattr(resnet, "WIDTHS", (8, 8, 8, 8))
    monkeypatch.setattr(resnet, "FEATURES", 8 * resnet.EXPANSION)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", ["PACF", "VGG19", "ResNet101", "AENet.reference"])
def test_a_network_is_trained_for_two_steps_and_loads(
    name: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "weights.safetensors"
    assert train_scorer(name, folder, out) == 0
    assert zoo.load(name, out).name == name
    card = json.loads(out.with_suffix(".json").read_text())
    training = card["training"]
    assert (training["steps"], training["batch"], training["seed"]) == (2, 2, 1)
    assert training["data"]["folder"] == str(folder)
    assert {"torch", "device", "processes", "threads"} <= training["machine"].keys()
    assert card["metrics"]["frames"] == 2
    history = json.loads(out.with_suffix(".history.json").read_text())
    assert history[-1]["step"] == 2
    assert out.with_suffix(".curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_is_gone_on_from_and_another_one_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights.safetensors"
    assert train_scorer("PACF", folder, out, "--keep-every=1") == 0
    first = out.read_bytes()
    out.unlink()
    assert train_scorer("PACF", folder, out, "--resume") == 0
    assert "going on from step 2" in capsys.readouterr().out
    assert out.read_bytes() == first
    assert train_scorer("PACF", folder, out, "--resume", "--batch=3") == 2
    assert "batch = 2, not 3" in capsys.readouterr().err
    assert train_scorer("PACF", folder, out, "--resume", "--preset=kim") == 2
    assert train_scorer("ResNet50", folder, out, "--resume") == 2
    assert "of another network" in capsys.readouterr().err


def test_aenet_is_trained_on_frames_of_the_simulator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "aenet.safetensors"
    words = ("--steps=2", "--batch=8", "--workers=0", "--judged-scenes=1", "--micrographs=absent")
    assert train("aenet", *words, "--out", out, "--keep", tmp_path / "kept") == 0
    assert "0 to train on, 0 held back" in capsys.readouterr().out
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["training"]["preset"] == "cpu"
    assert card["training"]["augmentation"]["width_px"] == 160
    assert load_aenet(out)[2].sha256 == card["sha256"]
    assert len(json.loads(out.with_suffix(".history.json").read_text())) == 1


@pytest.fixture(scope="module", autouse=True)
def few_familiar_frames() -> Iterator[None]:
    """What is familiar is found out from few frames: the tests look at how, not at how well."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("afdaemon.cli.train.aenet._FAMILIAR_BATCHES", 2)
        yield


SMALL = ("--batch=8", "--workers=0", "--judged-scenes=1", "--micrographs=absent")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AENet after one step."""
    folder = tmp_path_factory.mktemp("first")
    places = ("--keep", folder / "kept", "--out", folder / "first.safetensors")
    assert train("aenet", "--steps=1", *SMALL, *places) == 0
    return folder / "first.safetensors"


def test_aenet_begins_with_other_weights_and_says_so(first: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.safetensors"
    places = ("--keep", tmp_path / "kept", "--out")
    begun = ("--begin-with", first, "--steps=1", "--learning-rate=1e-6")
    assert train("aenet", *begun, *SMALL, *places, second) == 0
    began, ended = (load_aenet(path)[0].state_dict()["head.3.weight"] for path in (first, second))
    assert 0.0 < float((began - ended).abs().max()) < 1e-4
    told = load_aenet(second)[2].training["data"]["began_with"]
    assert told["sha256"] == load_aenet(first)[2].sha256
    assert told["training"]["steps"] == 1


def test_weights_can_be_judged_anew_without_a_step(first: Path, tmp_path: Path) -> None:
    """The network stays as it is; which frames are familiar to it is found out for the recipe of today."""
    again = tmp_path / "again.safetensors"
    places = ("--keep", tmp_path / "kept", "--out")
    assert (
        train("aenet", "--begin-with", first, "--steps=0", "--seed=2", *SMALL, *places, again) == 0
    )
    (one, familiar, _), (other, anew, _) = load_aenet(first), load_aenet(again)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert familiar is not None
    assert anew is not None
    assert not torch.equal(familiar.mean, anew.mean)


def test_a_scorer_is_trained_on_dataset_1(tmp_path: Path) -> None:
    out = tmp_path / "pacf.safetensors"
    words = ("--steps=1", "--batch=2", "--scenes=1", "--workers=0", "--out", out)
    assert train("scorer", "PACF", *words, "--keep", tmp_path / "kept") == 0
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["metrics"]["frames"] == 24
    assert card["training"]["data"]["dataset"]["width_px"] == 320


def test_weights_in_use_are_left_as_they_are(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stranger's training of two steps replaced them once."""
    before = shipped.found()
    monkeypatch.chdir(tmp_path)
    words = ("--data", folder, "--keep", tmp_path / "kept", "--workers=0")
    assert train("scorer", "PACF", "--steps=2", "--batch=2", *words) == 0
    assert shipped.found() == before
    assert (tmp_path / "runs" / "pacf.safetensors").is_file()
    said = capsys.readouterr().out.replace("\n", " ")
    assert "wrote runs/pacf.safetensors" in said
    assert "not used yet" in said


def test_acnet_is_trained_as_published_on_series_that_are_scored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def scored(_scorer: object, imaged: ImagedSeries) -> FocusSeries:
        offset_um = np.linspace(-4_000.0, 4_000.0, 9)
        score = np.exp(-((offset_um / 1_000.0) ** 2))
        return FocusSeries(
            magnification=imaged.magnification,
            dof_um=imaged.dof_um,
            offset_um=offset_um,
            score=9.0 * score,
            variance=score,
            entropy=5.0 + score,
        )

    monkeypatch.setattr(series, "_SWEEP_FRAMES", 1)
    monkeypatch.setattr(evaluate_series, "scored", scored)
    monkeypatch.chdir(tmp_path)
    words = ("acnet", "--preset=published", "--series=10", "--episodes=1", "--scored=series.npz")
    assert train(*words, "--without=score") == 0
    written = (tmp_path / "series.npz").stat().st_mtime_ns
    card = json.loads((tmp_path / "runs" / "acnet_published_without_score.json").read_text())
    assert card["arguments"]["without"] == ["score"]
    assert (card["training"]["preset"], card["training"]["episodes"]) == ("published", 1)
    assert card["training"]["data"]["series"] == 10
    assert train(*words, "--out=again.safetensors") == 0
    assert (tmp_path / "series.npz").stat().st_mtime_ns == written
    assert train(*words, "--seed=2") == 2
    assert "made with other settings" in capsys.readouterr().err


REFUSED = {
    "an unknown network": (["scorer", "VGG12"], ["VGG12", "VGG11"]),
    "an unknown preset": (["scorer", "PACF", "--preset=kin"], ["kin", "mean kim"]),
    "a preset of others": (["aenet", "--preset=published"], ["published", "cpu, gpu"]),
    "a teacher of windows": (["aenet", "--teacher=t.safetensors"], ["320 x 240", "preset gpu"]),
    "an unknown preset of ACNet": (["acnet", "--preset=publishd"], ["publishd", "mean published"]),
    "what ACNet can't be without": (["acnet", "--without=colour"], ["colour", "entropy"]),
    "an absent teacher": (["aenet", "--preset=gpu", "--teacher=t.safetensors"], ["t.safetensors"]),
    "nothing to go on from": (["scorer", "PACF", "--resume"], ["has no training to resume"]),
    "no AENet to go on from": (["aenet", "--resume"], ["has no training to resume"]),
    "nothing to begin with": (["aenet", "--begin-with=b.safetensors"], ["b.json"]),
    "two ways to begin": (["aenet", "--begin-with=b.safetensors", "--resume"], ["--resume"]),
    "an empty folder": (["scorer", "PACF", "--data=empty"], ["no labelled frames"]),
    "no folder": (["scorer", "PACF", "--data=absent"], ["absent"]),
    "no micrographs": (["scorer", "PACF", "--scenes=1", "--micrographs=empty"], ["empty"]),
    "no steps": (["scorer", "PACF", "--steps=0"], ["steps"]),
    "no steps from nothing": (["aenet", "--steps=0"], ["--begin-with"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(
    case: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    words, expected = REFUSED[case]
    assert train(*words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in expected), lines


def test_the_defocus_network_is_trained_on_a_few_scenes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "defocus.safetensors"
    words = ("--scenes=2", "--rounds=1", "--micrographs=absent")
    assert train("defocus", *words, "--out", out) == 0
    assert "from_20_dof_calibrated" in capsys.readouterr().out
    network, card = load_defocus(out)
    assert card.training["data"]["scenes"] == 2
    assert card.training["data"]["scored_by"] == load_scorer("cpu", 1).card.sha256
    assert card.metrics["from_75_dof_uncalibrated"]["runs"] == card.training["runs"]
    assert not network.training
