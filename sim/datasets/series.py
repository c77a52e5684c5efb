"""Focus series: one place at one magnification, imaged over the working distance. What ACNet is trained on.

Ours are dense near the focus, on columns of many kinds. Dataset 2 of Lee et al. 2021 consists of sweeps with equal
steps, all on one instrument.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, UNSEEN_MAGNIFICATIONS
from afdaemon.sim.datasets.scenes import worth_looking
from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View
from afdaemon.sim.instrument.settings import SCANS, FrameMode, InstrumentSettings
from afdaemon.sim.optics import Optics, depth_of_focus_um
from afdaemon.sim.specimens.catalogue import TRAINING_SPECIMENS, open_specimen
from afdaemon.sim.specimens.micrograph import load_micrograph
from afdaemon.sim.surface import Specimen

_REACH_DOF = 45.0
"""Largest offset of a series from the best WD."""
_MAGNIFICATIONS = {"gold_nanoparticles": (6_000.0, 32_000.0)}
_OTHER_MAGNIFICATIONS = (300.0, 25_000.0)
_ALPHA_RAD = (1.5e-3, 6e-3)
"""Convergence semi-angles of the columns. ASSUMED."""
_SWEEP_FRAMES = 250
"""Frames of a sweep (Lee et al. 2021)."""
_FINE_FROM = 10_000.0
"""Magnification from which sweeps start at 19 mm in steps of 5 um, not at 14 mm in steps of 50 um (authors' code)."""
_SWEEPS_FOCUS_UM = (19_300.0, 19_900.0)
"""ASSUMED: the best WDs, which both kinds of sweep reach; they were almost the same in all of Dataset 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagedSeries:
    """Frames uint8 (n, H, W) at offsets (um, rising, (n,)) from the best WD; depth of focus in um."""

    specimen: str
    magnification: float
    dof_um: float
    offset_um: NDArray[np.float64]
    pixels: NDArray[np.uint8]


def offsets_dof() -> NDArray[np.float64]:
    """Offsets in depths of focus: every 0.4 near focus, in ever wider steps out to 45."""
    far = np.geomspace(6.0, _REACH_DOF, 20)[1:]
    near = np.arange(-15, 16) * 0.4
    return np.concatenate([-far[::-1], near, far])


def focus_series(micrographs: Sequence[Path], *, seed: int) -> Iterator[ImagedSeries]:
    """Endless series, over all drawn specimens and the given micrographs in turn."""
    rng = np.random.default_rng(seed)
    loaded = [load_micrograph(path) for path in micrographs]
    names = [*TRAINING_SPECIMENS, *(["micrograph"] if loaded else [])]
    while True:
        for name in names:
            low, high = _MAGNIFICATIONS.get(name, _OTHER_MAGNIFICATIONS)
            magnification = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            if name == "micrograph":
                chosen = loaded[int(rng.integers(len(loaded)))]
                scaled = replace(chosen, pixel_um=chosen.pixel_um * 1000.0 / magnification)
                yield image_series(name, scaled, magnification, rng)
            else:
                yield image_series(
                    name, TRAINING_SPECIMENS[name](int(rng.integers(2**31))), magnification, rng
                )


def image_series(
    name: str,
    specimen: Specimen,
    magnification: float,
    rng: np.random.Generator,
    at_dof: NDArray[np.float64] | None = None,
) -> ImagedSeries:
    """A series somewhere on `specimen`, at offsets in depths of focus (default: `offsets_dof`), rising."""
    alpha = float(np.exp(rng.uniform(*np.log(_ALPHA_RAD))))
    detector = Detector(
        electrons=float(np.exp(rng.uniform(np.log(60.0), np.log(600.0)))),
        contrast=float(rng.uniform(0.6, 1.4)),
        brightness=float(rng.uniform(0.4, 0.6)),
    )
    imager = Imager(specimen, Optics(alpha_rad=alpha), detector)
    x_um, y_um = rng.uniform(-5e3, 5e3, 2)
    view = View(x_um=x_um, y_um=y_um, magnification=magnification, width_px=320, height_px=240)
    dof_um = depth_of_focus_um(magnification, alpha)
    offset_um = (offsets_dof() if at_dof is None else at_dof) * dof_um
    return _over_wd(name, imager, view, offset_um, rng)


def dataset2_series(name: str, rng: np.random.Generator) -> ImagedSeries:
    """A sweep somewhere on the specimen called `name`, at one of its magnifications, on a well-kept instrument."""
    low, high = PUBLISHED_MAGNIFICATIONS.get(name, UNSEEN_MAGNIFICATIONS)
    magnification = float(rng.uniform(low, high))
    kept_well = InstrumentSettings()
    detector = kept_well.detector.at(kept_well.column.spot, SCANS[FrameMode.FAST].dwell_ns)
    specimen = open_specimen(name, seed=int(rng.integers(2**31)))
    imager = Imager(specimen, Optics(alpha_rad=kept_well.alpha_rad), detector)
    view = View(x_um=0.0, y_um=0.0, magnification=magnification, width_px=320, height_px=240)
    begin_um, step_um = (14_000.0, 50.0) if magnification < _FINE_FROM else (19_000.0, 5.0)
    wd_um = begin_um + step_um * np.arange(_SWEEP_FRAMES, dtype=np.float64)
    offset_um = wd_um - float(rng.uniform(*_SWEEPS_FOCUS_UM))
    return _over_wd(name, imager, worth_looking(imager, view, rng), offset_um, rng)


def dataset2(*, seed: int) -> Iterator[ImagedSeries]:
    """Endless sweeps, over the published specimens in turn; the first 91 are Dataset 2."""
    rng = np.random.default_rng(seed)
    while True:
        for name in PUBLISHED_MAGNIFICATIONS:
            yield dataset2_series(name, rng)


def _over_wd(
    name: str, imager: Imager, view: View, offset_um: NDArray[np.float64], rng: np.random.Generator
) -> ImagedSeries:
    """Frames at offsets (n,) from the best WD of the field."""
    best_um = -imager.focus_height_um(view)  # what stands above the plane focuses at a shorter WD
    noise = np.random.Generator(np.random.SFC64(int(rng.integers(2**31))))
    frames = [imager.expose(view, defocus_um=best_um + float(at), rng=noise) for at in offset_um]
    return ImagedSeries(
        specimen=name,
        magnification=view.magnification,
        dof_um=depth_of_focus_um(view.magnification, imager.optics.alpha_rad),
        offset_um=offset_um,
        pixels=np.stack(frames),
    )
