"""Every scorer by its name, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from afdaemon.models import checkpoint
from afdaemon.models.errors import ModelError, WeightsError
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers import zoo
from afdaemon.models.scorers.classical import CLASSICAL
from afdaemon.models.scorers.focus_scorer import load_scorer

RIVALS = ("AENet.reference", "PACF", "VGG11", "VGG13", "VGG19", "ResNet50", "ResNet101")


def shots(count: int = 3) -> list[Shot]:
    rng = np.random.default_rng(6)
    return [
        Shot(pixels=rng.integers(0, 256, (240, 320), dtype=np.uint8), magnification=2_000.0)
        for _ in range(count)
    ]


def saved_pacf(folder: Path, *, half: bool = False) -> Path:
    torch.manual_seed(3)
    path = folder / "pacf.safetensors"
    zoo.save(zoo.build("PACF"), path, training={"steps": 2}, metrics={"rmse": 1.5}, half=half)
    return path


def edit_card(path: Path, **changes: object) -> None:
    card = checkpoint.card_path(path)
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))


def test_the_names_are_those_of_the_papers() -> None:
    names = zoo.scorer_names()
    assert names[:8] == ("AENet.compact", *RIVALS)
    assert names[8:] == CLASSICAL
    assert len(set(names)) == len(names)


def test_every_network_says_how_it_is_trained() -> None:
    assert tuple(zoo.NETWORKS) == RIVALS
    presets = {name: entry.preset for name, entry in zoo.NETWORKS.items()}
    assert presets.pop("AENet.reference") == "published"
    assert set(presets.values()) == {"kim"}
    assert len({zoo.weights_of(name) for name in RIVALS}) == len(RIVALS)


@pytest.mark.parametrize("name", RIVALS)
def test_every_network_scores_what_it_prepares(name: str) -> None:
    with torch.device("meta"):
        network = zoo.build(name)
    tensors = network.prepare(shots())
    assert all(len(tensor) == 3 and tensor.dtype == torch.float32 for tensor in tensors)
    with torch.no_grad():
        found = network.module.eval()(*(tensor.to("meta") for tensor in tensors))
    assert found.shape == (3,)
    assert network.name == name
    assert network.preprocessing["sampling_width_px"] == 320
    json.dumps(dict(network.preprocessing))


def test_compact_judges_as_the_service_does() -> None:
    scorer, service = zoo.open_scorer("AENet.compact", "cpu"), load_scorer("cpu")
    assert scorer.name == "AENet.compact"
    expected = [service.score(s.pixels, s.magnification).score for s in shots()]
    assert scorer.scores(shots()) == pytest.approx(np.array(expected), abs=0.02)


@pytest.mark.parametrize("half", [False, True])
def test_a_trained_network_comes_back_as_it_was(tmp_path: Path, half: bool) -> None:
    path = saved_pacf(tmp_path, half=half)
    torch.manual_seed(3)
    fresh = zoo.build("PACF")
    with torch.inference_mode():
        expected = fresh.module.eval()(*fresh.prepare(shots())).numpy()
    scorer = zoo.open_scorer("PACF", "cpu", weights=path)
    assert scorer.name == "PACF"
    assert scorer.scores(shots()) == pytest.approx(expected, abs=0.01 if half else 1e-5)


@pytest.mark.parametrize("name", ["AENet.compact", *RIVALS])
def test_an_untrained_network_says_how_to_train_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match=f"{name} is not trained") as caught:
        zoo.open_scorer(name, "cpu")
    command = "aenet" if name == "AENet.compact" else f"scorer {name}"
    assert f"`afdaemon train {command} --out " in caught.value.remedy


def test_trained_are_those_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "AENet.compact" in zoo.trained_names()
    monkeypatch.setattr(zoo, "WEIGHTS_FOLDER", tmp_path)
    saved_pacf(tmp_path)
    assert set(zoo.trained_names()) - set(CLASSICAL) == {"PACF"}


def test_every_trained_classical_scorer_opens() -> None:
    for name in set(CLASSICAL) & set(zoo.trained_names()):
        found = zoo.open_scorer(name).scores(shots())
        assert ((found >= 0.0) & (found <= 9.0)).all()


@pytest.mark.parametrize("name", ["", "pacf", "VGG16", "AENet"])
def test_unknown_names_are_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ModelError, match="no scorer is called") as caught:
        zoo.open_scorer(name)
    assert "VGG19" in caught.value.remedy
    with pytest.raises(ModelError, match="no network is called"):
        zoo.build(name)


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no device is called 'tpu'"):
        zoo.open_scorer("PACF", "tpu", weights=saved_pacf(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "ResNet50"}, "holds ResNet50, not PACF"),
        ({"preprocessing": {}}, "trained with channels = None"),
        ({"sha256": "0" * 64}, "SHA-256 differs"),
        ({"card_version": 7}, "version 7"),
    ],
)
def test_a_card_that_cannot_be_honoured_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = saved_pacf(tmp_path)
    edit_card(path, **changes)
    with pytest.raises(WeightsError, match=words):
        zoo.open_scorer("PACF", "cpu", weights=path)


def test_tampered_weights_are_refused(tmp_path: Path) -> None:
    path = saved_pacf(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        zoo.open_scorer("PACF", "cpu", weights=path)


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    path = saved_pacf(tmp_path)
    with pytest.raises(WeightsError, match=r"holds PACF, not AENet\.reference"):
        zoo.load("AENet.reference", path)
    with pytest.raises(WeightsError, match="holds PACF, not AENetCompact"):
        zoo.open_scorer("AENet.compact", "cpu", weights=path)
