"""Scenes imaged over the WD and measured: what the networks that find the focus learn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from afdaemon.cli.train.common import names_of, progress_bar

if TYPE_CHECKING:
    import numpy as np
    from _typeshed import DataclassInstance
    from numpy.typing import NDArray

    from afdaemon.models.scorers.focus_scorer import FocusScorer
    from afdaemon.sim.datasets.frames import Scenery
    from afdaemon.sim.datasets.scenes import Scene

B = TypeVar("B", bound="DataclassInstance")

_BANKS = ("used", "kept")
_KEPT_SEED, _KEPT_SHARE = 777, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Imaged:
    """A scene's name and magnification, and its frames (n, H, W) at the places of the survey."""

    name: str
    magnification: float
    frames: "NDArray[np.uint8]"


Read = Callable[["FocusScorer", Imaged], "tuple[NDArray[np.float64], ...]"]
"""What is measured of a scene: an array for each part of the bank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey(Generic[B]):
    """What is drawn, where it is imaged, and what is measured.

    Attributes:
        kind: the bank that keeps it.
        places_dof: where each scene is imaged, in depths of focus from the least blur, (n,).
        read: what is measured.
        variety: in what it differs from what AENet is trained on.
        recipe: the same, of what is drawn.
        block: so many scenes are drawn from one stream of random numbers.
    """

    kind: type[B]
    places_dof: "NDArray[np.float64]"
    read: Read
    variety: Mapping[str, Any]
    recipe: Mapping[str, Any]
    block: int


def surveyed(
    survey: Survey[B],
    micrographs: tuple[list[Path], list[Path]],
    scenes: int,
    seed: int,
    measured: Path | None,
) -> tuple[list[B], dict[str, Any]]:
    """Scenes to learn from, unseen ones of held-back micrographs, and what the card says about them.

    Those in the file `measured` if it is there; else they are written there.
    """
    from afdaemon.models.defocus.banks import load_banks, save_banks
    from afdaemon.models.scorers.focus_scorer import load_scorer

    scorer, (used, kept) = load_scorer(), micrographs
    told = {
        "source": "simulated scenes, afdaemon.sim.datasets.frames",
        "scenes": scenes,
        "seed": seed,
        **survey.variety,
        **survey.recipe,
        "micrographs": names_of(used),
        "scored_by": scorer.card.sha256,
    }
    if measured is not None and measured.exists():
        return load_banks(survey.kind, measured, _BANKS, told), told
    with progress_bar("scenes") as update:
        many = _measured(survey, scorer, used, scenes, seed, lambda n: update(n, scenes, 0.0))
        few = max(2, scenes // _KEPT_SHARE)
        unseen = _measured(survey, scorer, kept, few, seed + _KEPT_SEED, lambda _: None)
    if measured is not None:
        save_banks(measured, dict(zip(_BANKS, (many, unseen), strict=True)), told)
    return [many, unseen], told


def _measured(
    survey: Survey[B],
    scorer: "FocusScorer",
    micrographs: list[Path],
    count: int,
    seed: int,
    on_scene: Callable[[int], None],
) -> B:
    """`count` scenes."""
    from afdaemon.models.defocus.banks import joined

    blocks = []
    for start in range(0, count, survey.block):
        size = min(survey.block, count - start)
        blocks.append(_block(survey, scorer, micrographs, size, (seed, start), on_scene))
    return joined(blocks)


def _block(
    survey: Survey[B],
    scorer: "FocusScorer",
    micrographs: list[Path],
    count: int,
    seed: tuple[int, int],
    on_scene: Callable[[int], None],
) -> B:
    """The scenes of one block, with `seed[1]` scenes before it: the same whichever process measures it."""
    import numpy as np

    from afdaemon.evaluate.judged import drawn

    rng = np.random.default_rng(seed)
    scenery = _scenery(survey, micrographs, rng)

    def image(sitting: "tuple[Scene, int]") -> Imaged:
        scene, noise_seed = sitting
        noise = np.random.Generator(np.random.SFC64(noise_seed))
        frames = scene.over_wd(survey.places_dof, noise)
        return Imaged(name=scene.name, magnification=scene.view.magnification, frames=frames)

    sittings = ((scenery.next_scene(), int(rng.integers(2**31))) for _ in range(count))
    measured = []
    for imaged in drawn(image, sittings, workers=1):
        measured.append(survey.read(scorer, imaged))
        on_scene(seed[1] + len(measured))
    return survey.kind(*(np.array(part, np.float32) for part in zip(*measured, strict=True)))


def _scenery(survey: Survey[B], micrographs: list[Path], rng: "np.random.Generator") -> "Scenery":
    from afdaemon.sim.datasets.frames import HARSH, Recipe, Scenery

    recipe = replace(
        Recipe(usual_share=0.0), variety=replace(HARSH, **survey.variety), **survey.recipe
    )
    return Scenery(recipe, micrographs, rng)
