"""Windows of frames, mirrored and turned: what a network may see of one frame."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from afdaemon.models.frames.preprocess import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """A window of `height_px` x `width_px` somewhere in the frame, then mirrored, then turned by quarters."""

    height_px: int
    width_px: int
    flips: bool = True
    quarter_turns: bool = False

    def fits(self, pixels: Pixels) -> bool:
        """Whether a frame (H, W) is large enough for the window."""
        height, width = pixels.shape
        return bool(height >= self.height_px and width >= self.width_px)

    def window(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """One of the windows of a frame (H, W); turned ones are square."""
        height, width = pixels.shape
        top = int(rng.integers(height - self.height_px + 1))
        left = int(rng.integers(width - self.width_px + 1))
        cut = pixels[top : top + self.height_px, left : left + self.width_px]
        if self.flips:
            down, across = (int(step) for step in rng.choice((-1, 1), 2))
            cut = cut[::down, ::across]
        quarters = int(rng.integers(4)) if self.quarter_turns else 0
        return cast("Pixels", np.ascontiguousarray(np.rot90(cut, quarters)))

    def middle(self, pixels: Pixels) -> Pixels:
        """The window in the middle of a frame (H, W), as it lies."""
        top = (pixels.shape[0] - self.height_px) // 2
        left = (pixels.shape[1] - self.width_px) // 2
        return pixels[top : top + self.height_px, left : left + self.width_px]
