"""An image network in parallel with a small one for the control parameters, joined to one score (Kim et al. 2019).

Where this differs from the paper, which leaves most of it open: the magnification is a control parameter too; every
network, not only PACF, is joined to the parameters in this one way; crops are standardised; a sigmoid bounds the score.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from afdaemon.models.errors import ImageError
from afdaemon.models.frames.shot import Shot, judged_image
from afdaemon.models.optics import SAMPLING_WIDTH_PX, TOP_SCORE
from afdaemon.models.scorers.networks.base import ScoringNetwork, Tensors, centre_crop, standardised

CROP_PX = 224
_CONTROLS = 4
_CONTROL_WIDTH, _JOINT_WIDTH = 64, 256

_MIDDLE_WD_UM, _WD_SCALE_UM = 20_000.0, 10_000.0
_MIDDLE_MAGNIFICATION = 3_000.0
"""Controls are scaled to lie around zero and be about one wide."""

PREPROCESSING: dict[str, Any] = {
    "channels": ["standardised"],
    "crop_px": CROP_PX,
    "sampling_width_px": SAMPLING_WIDTH_PX,
    "controls": [
        "4 (brightness - 0.5)",
        "contrast - 1",
        f"(wd_um - {_MIDDLE_WD_UM:g}) / {_WD_SCALE_UM:g}",
        f"lg(magnification / {_MIDDLE_MAGNIFICATION:g})",
    ],
}


class Joined(nn.Module):
    """Images (N, 1, 224, 224) and controls (N, 4) -> scores 0..9, (N,).

    `trunk` makes (N, features) numbers of the images.
    """

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.controls = nn.Sequential(
            *(nn.Linear(_CONTROLS, _CONTROL_WIDTH), nn.ReLU()),
            *(nn.Linear(_CONTROL_WIDTH, _CONTROL_WIDTH), nn.ReLU()),
        )
        self.joint = nn.Sequential(
            *(nn.Linear(features + _CONTROL_WIDTH, _JOINT_WIDTH), nn.ReLU()),
            nn.Linear(_JOINT_WIDTH, 1),
        )

    def forward(self, images: Tensor, controls: Tensor) -> Tensor:
        """The scores."""
        both = torch.cat([self.trunk(images), self.controls(controls)], dim=1)
        raw: Tensor = self.joint(both).squeeze(1).float()
        return TOP_SCORE * torch.sigmoid(raw)


def _controls_of(shot: Shot) -> NDArray[np.float32]:
    """Brightness, contrast, WD and magnification, each around zero and about one wide, float32 (4,).

    Raises:
        ImageError: one of them is not a number.
    """
    for field in ("brightness", "contrast", "wd_um"):
        value = getattr(shot, field)
        if not math.isfinite(value):
            raise ImageError(
                f"{field} must be a finite number, got {value}",
                remedy="give the settings the image was taken with",
            )
    return np.array(
        [
            4.0 * (shot.brightness - 0.5),
            shot.contrast - 1.0,
            (shot.wd_um - _MIDDLE_WD_UM) / _WD_SCALE_UM,
            math.log10(shot.magnification / _MIDDLE_MAGNIFICATION),
        ],
        np.float32,
    )


def prepare(shots: Sequence[Shot]) -> Tensors:
    """Centre crops (n, 1, 224, 224) and controls (n, 4)."""
    crops = [standardised(centre_crop(judged_image(shot), CROP_PX, CROP_PX)) for shot in shots]
    controls = [_controls_of(shot) for shot in shots]
    return torch.from_numpy(np.stack(crops)).unsqueeze(1), torch.from_numpy(np.stack(controls))


def joined(name: str, trunk: nn.Module, features: int) -> ScoringNetwork:
    """The network called `name`, with fresh weights."""
    return ScoringNetwork(
        name=name, module=Joined(trunk, features), preprocessing=PREPROCESSING, prepare=prepare
    )
