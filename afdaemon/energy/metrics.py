"""How well a volume was recovered, as the report counts it.

For each volume and class IoU = (I + e) / (U + e) and recall = (I + e) / (T + e), with e = 1e-7, so that a class which
is in neither volume counts as found. Both are averaged over classes and volumes alike. Accuracy is the share of voxels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from afdaemon.energy.specimens.structures import Volume

_E = 1e-7


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one volume, or the means of several: IoU and recall of each class (0 is empty), share of right voxels."""

    ious: tuple[float, ...]
    recalls: tuple[float, ...]
    accuracy: float

    @property
    def iou(self) -> float:
        """Mean over the classes."""
        return float(np.mean(self.ious))

    @property
    def recall(self) -> float:
        """Mean over the classes."""
        return float(np.mean(self.recalls))


def agreement(found: Volume, truth: Volume, classes: int = 3) -> Agreement:
    """How well `found` agrees with `truth`, both (z, y, x)."""
    ious, recalls = [], []
    for kind in range(classes):
        in_found, in_truth = found == kind, truth == kind
        both = float((in_found & in_truth).sum())
        ious.append((both + _E) / (float((in_found | in_truth).sum()) + _E))
        recalls.append((both + _E) / (float(in_truth.sum()) + _E))
    return Agreement(tuple(ious), tuple(recalls), float((found == truth).mean()))


def mean_agreement(each: Sequence[Agreement]) -> Agreement:
    """The mean over volumes."""
    return Agreement(
        ious=tuple(float(value) for value in np.mean([a.ious for a in each], axis=0)),
        recalls=tuple(float(value) for value in np.mean([a.recalls for a in each], axis=0)),
        accuracy=float(np.mean([a.accuracy for a in each])),
    )


def transposed(volume: Volume) -> Volume:
    """The volume with x and y exchanged, as the report's truth of the pads very probably is."""
    return np.swapaxes(volume, 1, 2)
