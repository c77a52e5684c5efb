"""Every scorer by its name: AENet, the networks it is compared with, and the classical functions.

AENet.compact                  the default; `models.scorers.focus_scorer` judges with it
AENet.reference                Lee et al. 2021
PACF, VGG11 .. ResNet101       Kim et al. 2019
classical functions            `models.scorers.classical`, mapped to 0..9
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from afdaemon.models import checkpoint
from afdaemon.models.checkpoint import WEIGHTS_FOLDER
from afdaemon.models.devices import choose_device
from afdaemon.models.errors import ModelError, WeightsError
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.base import FrameScorer
from afdaemon.models.scorers.classical import CLASSICAL, classical_scorer
from afdaemon.models.scorers.focus_scorer import FocusScorer, load_scorer
from afdaemon.models.scorers.networks import aenet_reference, pacf, resnet, vgg
from afdaemon.models.scorers.networks.base import NetworkScorer, ScoringNetwork

COMPACT = "AENet.compact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How a network is built, and the name of the preset that it is trained with."""

    build: Callable[[], ScoringNetwork]
    preset: str


NETWORKS: Mapping[str, Entry] = {
    aenet_reference.NAME: Entry(build=aenet_reference.build, preset="published"),
    pacf.NAME: Entry(build=pacf.build, preset="kim"),
    **{f"VGG{n}": Entry(build=partial(vgg.build, n), preset="kim") for n in vgg.CONVOLUTIONS},
    **{f"ResNet{n}": Entry(build=partial(resnet.build, n), preset="kim") for n in resnet.BLOCKS},
}
"""What `afdaemon train scorer` trains. AENet.compact has a training of its own, `afdaemon train aenet`."""


class CompactScorer:
    """AENet.compact behind `FrameScorer`."""

    name = COMPACT

    def __init__(self, scorer: FocusScorer) -> None:
        self._scorer = scorer

    def scores(self, shots: Sequence[Shot]) -> NDArray[np.float64]:
        """Scores 0..9, (n,), of frames that may differ in size. Raises `ImageError` for one it cannot judge."""
        frames, magnifications = [s.pixels for s in shots], [s.magnification for s in shots]
        return np.array(
            [judged.score for judged in self._scorer.score_many(frames, magnifications)]
        )


def scorer_names() -> tuple[str, ...]:
    """All scorers, as tables list them: AENet, its rivals, the classical functions."""
    return (COMPACT, *NETWORKS, *CLASSICAL)


def trained_names() -> tuple[str, ...]:
    """Those that `open_scorer` finds weights for."""
    return tuple(name for name in scorer_names() if _is_trained(name))


def weights_of(name: str) -> Path:
    """Where the weights of a network are, or will be once it is trained."""
    return WEIGHTS_FOLDER / f"{name.lower().replace('.', '_')}.safetensors"


def build(name: str) -> ScoringNetwork:
    """A network of `NETWORKS` with fresh weights. Raises `ModelError` if there is none of this name."""
    _check_network(name)
    return NETWORKS[name].build()


def load(name: str, weights: Path | None = None) -> ScoringNetwork:
    """A trained network of `NETWORKS`, on the CPU; `weights` in place of those in the package.

    Raises:
        ModelError: no network of this name.
        WeightsError: it is not trained, or the weights are damaged or another network's.
    """
    _check_network(name)
    path = _found(name, weights)
    with torch.device("meta"):  # fresh weights of the larger ones take seconds
        network = NETWORKS[name].build()
    network.module.to_empty(device="cpu")
    checkpoint.load_into(
        network.module, path, architecture=name, preprocessing=network.preprocessing
    )
    return network


def save(
    network: ScoringNetwork,
    weights: Path,
    *,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    half: bool = False,
) -> checkpoint.Card:
    """Write weights and card so that `load` takes them; `half` stores 16 bits a number."""
    card = {
        "architecture": network.name,
        "arguments": {},
        "preprocessing": dict(network.preprocessing),
        "training": dict(training),
        "metrics": dict(metrics),
    }
    return checkpoint.save(weights, network.module.state_dict(), card, half=half)


def open_scorer(name: str, device: str = "auto", *, weights: Path | None = None) -> FrameScorer:
    """The scorer of this name, ready to judge on `device` (auto, cpu, cuda; classical ones need none).

    Raises:
        ModelError: no scorer of this name, or no such device here.
        WeightsError: it is not trained, or its weights are damaged or another network's.
    """
    if name in CLASSICAL:
        return classical_scorer(name)
    if name not in scorer_names():
        raise ModelError(
            f"no scorer is called {name!r}", remedy=f"use one of {', '.join(scorer_names())}"
        )
    chosen = choose_device(device)
    if name == COMPACT:
        return CompactScorer(load_scorer(device, weights=_found(name, weights)))
    return NetworkScorer(load(name, weights), chosen)


def _check_network(name: str) -> None:
    if name not in NETWORKS:
        raise ModelError(
            f"no network is called {name!r}", remedy=f"use one of {', '.join(NETWORKS)}"
        )


def _found(name: str, weights: Path | None) -> Path:
    """The weight file of a network, which must exist."""
    path = weights or weights_of(name)
    if not path.is_file():
        command = "aenet" if name == COMPACT else f"scorer {name}"
        raise WeightsError(
            f"{name} is not trained: there is no {path}",
            remedy=f"train it with `afdaemon train {command} --out {path}`",
        )
    return path


def _is_trained(name: str) -> bool:
    if name not in CLASSICAL:
        return weights_of(name).is_file()
    try:
        classical_scorer(name)
    except WeightsError:
        return False
    return True
