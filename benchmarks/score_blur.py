"""Does the score fall, step by step, when a real micrograph is blurred?

Each micrograph is blurred with a Gaussian of sigma 0, 1, 2, 4, 8 and 16 pixels of its own and scored as
`afdaemon score` does. Without --micrographs, drawn pictures stand in.

    python benchmarks/score_blur.py [--quick] [--seed N] [--json FILE] [--micrographs DIR]
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from reporting import conclude, parse

from afdaemon.drivers.wire.image import GreyPixels, decode_grey
from afdaemon.evaluate.section import Bar
from afdaemon.grey.data_bar import without_data_bar
from afdaemon.models.scorers.focus_scorer import FocusScorer, load_scorer
from afdaemon.sim.datasets.frames import find_micrographs
from afdaemon.sim.specimens.catalogue import TRAINED, UNSEEN, open_specimen
from afdaemon.sim.surface import Patch

SIGMAS_PX = (0, 1, 2, 4, 8, 16)
MAGNIFICATION = 1_000.0
SHOWN = 5
"""This many must fall strictly; if there are more pictures, most of them."""


def blurred_scores(scorer: FocusScorer, pixels: GreyPixels) -> list[float]:
    """Scores at each sigma; the blurred picture is an 8-bit file like the first."""
    scores = []
    for sigma in SIGMAS_PX:
        blurred = cast("GreyPixels", cv2.GaussianBlur(pixels, (0, 0), sigma)) if sigma else pixels
        scores.append(scorer.score(blurred, MAGNIFICATION).score)
    return scores


def pictures(folder: Path | None, seed: int) -> dict[str, GreyPixels]:
    """Pictures by name: all micrographs of a folder, or a drawn one of each specimen."""
    if folder is not None:
        return {
            f"{path.parent.name}/{path.name}": without_data_bar(decode_grey(path.read_bytes()))
            for path in find_micrographs(folder)
        }
    patch = Patch(left_um=0.0, top_um=0.0, step_um=0.13, width=1280, height=960)
    drawn = {
        name: open_specimen(name, seed=seed).draw(patch).secondary for name in TRAINED + UNSEEN
    }
    drawn["tin_balls, another"] = open_specimen("tin_balls", seed=seed + 1).draw(patch).secondary
    return {
        name: np.clip(255.0 * values, 0, 255).astype(np.uint8) for name, values in drawn.items()
    }


def falls(scores: list[float]) -> bool:
    """Whether each score is below the one before."""
    return all(after < before for before, after in pairwise(scores))


def main() -> int:
    arguments = parse(__doc__, quick="nothing; it is quick")
    scorer = load_scorer()
    found = {
        name: blurred_scores(scorer, pixels)
        for name, pixels in pictures(arguments.micrographs, arguments.seed).items()
    }
    head = f"{'picture':<42}" + "".join(f"{f'sigma {s}':>10}" for s in SIGMAS_PX)
    lines = [
        f"{name:<42}"
        + "".join(f"{score:>10.3f}" for score in scores)
        + ("" if falls(scores) else "  !")
        for name, scores in found.items()
    ]
    text = "\n".join([head, *lines])
    count = sum(map(falls, found.values()))
    bars = [
        Bar(f"strictly falling for at least {SHOWN}", count >= SHOWN, f"{count} of {len(found)}"),
    ]
    rows = [{"picture": name, "scores": scores} for name, scores in found.items()]
    return conclude(arguments, "benchmarks/score_blur.py", text, bars, rows)


if __name__ == "__main__":
    sys.exit(main())
