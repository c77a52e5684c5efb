"""Linear maps from focus functions to scores, and the file they are kept in.

Kim et al. 2019 normalise focus functions to the range of the scores; a least-squares fit is fairer to them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.checkpoint import CARD_VERSION, WEIGHTS_FOLDER
from afdaemon.models.errors import TrainingError, WeightsError
from afdaemon.models.optics import SAMPLING_WIDTH_PX, TOP_SCORE

FITTED_MAPS = WEIGHTS_FOLDER / "classical.json"
PREPROCESSING: dict[str, Any] = {
    "grey_values": "0..1",
    "sampling_width_px": SAMPLING_WIDTH_PX,
}
_REMEDY = "reinstall the package"


@dataclass(frozen=True, slots=True)
class LinearMap:
    """score = slope * value + offset, kept in 0..9."""

    slope: float
    offset: float

    def scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores 0..9 of values of any shape."""
        return np.clip(self.slope * values + self.offset, 0.0, TOP_SCORE)


def fit(values: NDArray[np.float64], scores: NDArray[np.float64]) -> LinearMap:
    """The least-squares map from `values` to `scores`, both (n,); values that are all the same map to the mean score.

    Raises:
        TrainingError: there are no values, a number is not finite, or there are not as many values as scores.
    """
    if values.size == 0 or values.shape != scores.shape:
        raise TrainingError(
            f"a map needs as many values as scores and at least one, got {values.size} and {scores.size}",
            remedy="give more labelled frames",
        )
    if not (np.isfinite(values).all() and np.isfinite(scores).all()):
        raise TrainingError("a value or a score is not a finite number", remedy="check the frames")
    away = values - values.mean()
    spread = float(away @ away)
    slope = float(away @ (scores - scores.mean())) / spread if spread > 0.0 else 0.0
    return LinearMap(slope, float(scores.mean() - slope * values.mean()))


def write_maps(
    maps: Mapping[str, LinearMap],
    *,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    path: Path = FITTED_MAPS,
) -> None:
    """Write maps by name, with what they were fitted on and how well they did; whole or not at all."""
    content = {
        "card_version": CARD_VERSION,
        "architecture": "LinearMap",
        "preprocessing": PREPROCESSING,
        "training": dict(training),
        "metrics": dict(metrics),
        "maps": {name: asdict(linear) for name, linear in maps.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def read_maps(names: Sequence[str], path: Path = FITTED_MAPS) -> dict[str, LinearMap]:
    """The maps of `names`.

    Raises:
        WeightsError: the file is missing, damaged, of frames prepared differently, or lacks one of them.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, prepared = content["card_version"], content["preprocessing"]
        found = {name: _linear_map(path, name, content["maps"]) for name in names}
    except OSError as error:
        raise WeightsError(
            f"{path}: the maps of the classical measures cannot be read ({error.strerror})",
            remedy=_REMEDY,
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} holds no maps of this version", remedy=_REMEDY) from error
    if version != CARD_VERSION:
        raise WeightsError(f"{path} is of version {version}, not {CARD_VERSION}", remedy=_REMEDY)
    if prepared != PREPROCESSING:
        raise WeightsError(
            f"{path} was fitted on frames prepared with {prepared}, this version uses {PREPROCESSING}",
            remedy=_REMEDY,
        )
    return found


def _linear_map(path: Path, name: str, maps: dict[str, dict[str, float]]) -> LinearMap:
    if name not in maps:
        raise WeightsError(f"{path} holds no map of {name}", remedy=_REMEDY)
    linear = LinearMap(**maps[name])
    if not (math.isfinite(linear.slope) and math.isfinite(linear.offset)):
        raise WeightsError(f"{path}: the map of {name} is not finite: {linear}", remedy=_REMEDY)
    return linear
