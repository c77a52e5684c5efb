"""Weights on disk: safetensors, and beside them a JSON card that says what they are.

The card names the architecture with its arguments, the preprocessing, how and on what it was trained, its metrics, and
the SHA-256 of the weight file. A loader that meets a card it cannot honour refuses. Never pickle.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from afdaemon.models.errors import WeightsError

CARD_VERSION = 1
WEIGHTS_FOLDER = Path(__file__).parent / "weights"
_MAX_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known about a weight file."""

    architecture: str
    arguments: dict[str, Any]
    preprocessing: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    sha256: str


def card_path(weights: Path) -> Path:
    """The card beside a weight file."""
    return weights.with_suffix(".json")


def save(
    weights: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any], *, half: bool = False
) -> Card:
    """Write weights and card; the card gets the weights' SHA-256. Both appear whole or not at all.

    `half` stores 16 bits a number; loading widens them again.
    """
    data = save_tensors({name: _stored(tensor, half) for name, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    full = Card(**card, sha256=digest)
    fields = {name: getattr(full, name) for name in Card.__dataclass_fields__}
    text = json.dumps({"card_version": CARD_VERSION, **fields}, indent=2) + "\n"
    weights.parent.mkdir(parents=True, exist_ok=True)
    for path, content in ((weights, data), (card_path(weights), text.encode())):
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        part.replace(path)
    return full


def _stored(tensor: Tensor, half: bool) -> Tensor:
    kept = tensor.detach().cpu().contiguous()
    return kept.half() if half and kept.is_floating_point() else kept


def read_card(weights: Path) -> Card:
    """The card of a weight file.

    Raises:
        WeightsError: it is missing, damaged, or of another version.
    """
    path = card_path(weights)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("card_version", None)
        if version != CARD_VERSION:
            raise WeightsError(f"{path} is a card of version {version}, not {CARD_VERSION}")
        return Card(**content)
    except OSError as error:
        raise WeightsError(f"{path}: the card cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is not a card of this version ({error})") from error


def load_into(
    module: nn.Module,
    weights: Path,
    *,
    architecture: str,
    preprocessing: Mapping[str, Any],
    beside: str | None = None,
) -> dict[str, Tensor]:
    """Load weights into `module` after checking that the card matches what this version does.

    Returns the tensors whose names begin with `beside`: they are stored with the network, but are not a part of it.

    Raises:
        WeightsError: the card or the weights differ from what is expected; the message says how.
    """
    card = read_card(weights)
    if card.architecture != architecture:
        raise WeightsError(f"{weights} holds {card.architecture}, not {architecture}")
    for key in (*preprocessing, *card.preprocessing):
        trained, ours = card.preprocessing.get(key), preprocessing.get(key)
        if trained != ours:
            raise WeightsError(
                f"{weights} was trained with {key} = {trained!r},"
                f" this version prepares frames with {ours!r}"
            )
    tensors = _tensors_of(weights, card)
    apart = {
        name: tensors.pop(name) for name in list(tensors) if beside and name.startswith(beside)
    }
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{weights} does not fit {architecture}: {error}") from error
    return apart


def _tensors_of(weights: Path, card: Card) -> dict[str, Tensor]:
    """All that a weight file holds, if it is the one that the card describes. Raises `WeightsError`."""
    try:
        if weights.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"{weights} is larger than 1 GiB")
        data = weights.read_bytes()
    except OSError as error:
        raise WeightsError(f"{weights} cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise WeightsError(f"{weights} is not the file its card describes (SHA-256 differs)")
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise WeightsError(f"{weights} cannot be read: {error}") from error
