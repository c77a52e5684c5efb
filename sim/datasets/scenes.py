"""Scenes to train on: a field of a specimen, imaged many times, each frame with its own defocus, detector and flaws.

Every frame goes through the whole simulator (relief, tilt, charging, jitter). Its label depends on defocus alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.imaging.depth import Tilt
from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View, crop, detail
from afdaemon.sim.imaging.scan import FLAWLESS, ScanFlaws, Scanning
from afdaemon.sim.optics import FAST_WIDTH_PX, Beam, Optics, depth_of_focus_um, pixel_um
from afdaemon.sim.specimens.soiled import Soiled
from afdaemon.sim.specimens.texture import value_noise
from afdaemon.sim.surface import FloatImage, Patch, Specimen, Surface

Range = tuple[float, float]
OpenSpecimen = Callable[[int], Specimen]

_SPREAD_AT_LEAST = 0.03
"""Standard deviation of a sharp field's signal below which there is nothing to focus on."""
_DETAIL_AT_LEAST = 0.012
"""The same after everything coarser than about three pixels has been removed."""
_TRIES = 8
"""Places that are tried before the last one is taken as it is."""
_STAGE_UM = 1e4
"""How far from the specimen's origin places are tried, along x and y."""
_GROUND = 911
"""Random stream of an uneven ground's noise."""
_FIELDS, _PASSES = (2, 4), (2, 4, 8, 16)
"""Fields of interlaced frames and passes over averaged lines, as instruments offer them. ASSUMED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variety:
    """What varies between scenes and frames, and how much. Ranges are log-uniform, except for brightness and gamma.

    `astigmatism_dof` is the largest distance between the line foci in depths of focus; shares are probabilities.
    `tau_px` is the time constant of the share of detectors that are slow, `quiet_electrons` are those of the share of
    frames that are the mean of many. In a share of scenes electrons come in bunches of `se_yield` (0.1 at 30 kV to 1
    and more at 1 kV on flat ground: Reimer, section 4.2; the share that is counted is ASSUMED). In a share of frames
    gain and brightness hunt by `hunting`, with a period of `hunting_frames` frames: they stand for slow frames, which
    last as long as a period. Interlaced frames drift by up to `drift_px` while they are scanned. Sizes are ASSUMED.
    The share `wave_share` of scenes has a wave-optical probe of a tension in `kv`, which then also makes its size.
    """

    alpha_rad: Range = (2e-3, 8e-3)
    probe_nm: Range = (4.0, 12.0)
    wave_share: float = 0.0
    kv: Range = (1.0, 30.0)
    electrons: Range = (60.0, 1500.0)
    contrast: Range = (0.5, 1.6)
    brightness: Range = (0.35, 0.65)
    gamma: Range = (0.75, 1.35)
    read_noise: Range = (0.5, 5.0)
    astigmatism_dof: float = 2.0
    astigmatic_share: float = 0.4
    tau_px: Range = (0.1, 1.5)
    slow_share: float = 0.0
    quiet_electrons: Range = (3_000.0, 30_000.0)
    quiet_share: float = 0.0
    se_yield: Range = (0.1, 2.0)
    bunched_share: float = 0.0
    hunting: Range = (0.01, 0.1)
    hunting_frames: Range = (0.5, 8.0)
    hunting_share: float = 0.0
    drift_px: float = 1.0
    interlaced_share: float = 0.0
    line_averaged_share: float = 0.0
    soiled_share: float = 0.3
    backscatter_share: float = 0.2
    tilt_rad: float = 0.0
    charging: float = 0.3
    jitter_px: float = 0.2
    largest_blur_px: float = 80.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFrames:
    """Frames of one scene: pixels uint8 (n, H, W) and, each float32 (n,), the settings they were taken with.

    `blur_px` is the label: the larger semi-axis of the defocus ellipse in pixels of a frame 320 px wide.
    """

    scene: str
    pixels: NDArray[np.uint8]
    magnification: NDArray[np.float32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    wd_um: NDArray[np.float32]
    blur_px: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A place on a specimen and a column to image it with."""

    name: str
    imager: Imager
    view: View
    variety: Variety
    best_wd_um: float
    charging: float

    def frames(self, count: int, rng: np.random.Generator) -> LabelledFrames:
        """`count` frames, each with a defocus, a detector setting and flaws of its own."""
        shots = [self._shot(rng) for _ in range(count)]
        pixels, detectors, wds, blurs = zip(*shots, strict=True)
        return LabelledFrames(
            scene=self.name,
            pixels=np.stack(pixels),
            magnification=np.full(count, self.view.magnification, np.float32),
            brightness=np.array([d.brightness for d in detectors], np.float32),
            contrast=np.array([d.contrast for d in detectors], np.float32),
            wd_um=np.array(wds, np.float32),
            blur_px=np.array(blurs, np.float32),
        )

    def over_wd(
        self, offsets_dof: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Frames (n, H, W) at distances (n,) from the best WD: one detector, raster and astigmatism for all of them."""
        optics, raster = self._optics(rng), self._raster(rng)
        self.imager.detector = self._detector(rng, raster)
        dof_um = depth_of_focus_um(self.view.magnification, optics.alpha_rad)
        best_um = -self.imager.focus_height_um(self.view)
        frames = [
            self.imager.expose(
                self.view,
                defocus_um=best_um + float(at) * dof_um,
                rng=rng,
                optics=optics,
                scan=self._scanning(rng, raster),
            )
            for at in offsets_dof
        ]
        return np.stack(frames)

    def _shot(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Detector, float, float]:
        """A frame, its detector, its WD (um) and its label (px)."""
        wanted_px = _blur_wanted_px(rng, self.variety.largest_blur_px)
        optics, raster = self._optics(rng), self._raster(rng)
        step_um = pixel_um(self.view.magnification, FAST_WIDTH_PX)
        least_um = 0.5 * float(np.hypot(*optics.astigmatism_um))
        away_um = max(0.0, wanted_px * step_um / optics.alpha_rad - least_um)
        away_um *= rng.choice((-1.0, 1.0))
        self.imager.detector = self._detector(rng, raster)
        frame = self.imager.expose(
            self.view,
            defocus_um=away_um - self.imager.focus_height_um(self.view),
            rng=rng,
            optics=optics,
            scan=self._scanning(rng, raster),
        )
        blur = optics.blur(away_um, self.view.magnification, FAST_WIDTH_PX)
        return frame, self.imager.detector, self.best_wd_um + away_um, blur.radius_px

    def _optics(self, rng: np.random.Generator) -> Optics:
        variety, clean = self.variety, self.imager.optics
        if rng.random() >= variety.astigmatic_share:
            return clean
        dof_um = depth_of_focus_um(self.view.magnification, clean.alpha_rad)
        apart_um = dof_um * variety.astigmatism_dof * rng.random()
        turn = rng.uniform(0.0, 2.0 * np.pi)
        return replace(clean, astigmatism_um=(apart_um * np.cos(turn), apart_um * np.sin(turn)))

    def _raster(self, rng: np.random.Generator) -> Scanning:
        """How the lines are scanned, without any flaw."""
        variety, usual = self.variety, Scanning(flaws=FLAWLESS)
        fields = int(rng.choice(_FIELDS)) if happens(rng, variety.interlaced_share) else 1
        passes = int(rng.choice(_PASSES)) if happens(rng, variety.line_averaged_share) else 1
        return replace(usual, interlace=fields, line_average=passes, line_s=passes * usual.line_s)

    def _detector(self, rng: np.random.Generator, raster: Scanning) -> Detector:
        variety, known = self.variety, self.imager.detector
        steady = Detector(
            electrons=log_uniform(rng, variety.electrons),
            contrast=log_uniform(rng, variety.contrast),
            brightness=float(rng.uniform(*variety.brightness)),
            gamma=float(rng.uniform(*variety.gamma)),
            read_noise=log_uniform(rng, variety.read_noise),
            backscatter=known.backscatter,
            tau_px=log_uniform(rng, variety.tau_px) if happens(rng, variety.slow_share) else 0.0,
            se_yield=known.se_yield,
        )
        if happens(rng, variety.quiet_share):
            steady = replace(steady, electrons=log_uniform(rng, variety.quiet_electrons))
        if not happens(rng, variety.hunting_share):
            return steady
        period_s = log_uniform(rng, variety.hunting_frames) * self.view.height_px * raster.line_s
        return replace(steady, hunting=log_uniform(rng, variety.hunting), hunting_s=period_s)

    def _scanning(self, rng: np.random.Generator, raster: Scanning) -> Scanning:
        pixel_nm = 1000.0 * self.view.pixel_um
        largest_nm = self.variety.jitter_px * pixel_nm
        jitter, hum, shake = largest_nm * rng.random(3) ** 2
        start_s, drift = float(rng.uniform(0.0, 100.0)), np.zeros(2)
        if raster.interlace > 1:
            frame_s = self.view.height_px * raster.line_s
            drift = rng.uniform(-1.0, 1.0, 2) * self.variety.drift_px * pixel_nm / frame_s
        flaws = ScanFlaws(
            jitter_nm=float(jitter),
            hum_nm=float(hum),
            vibration_nm=float(shake),
            drift_nm_per_s=(float(drift[0]), float(drift[1])),
            charging=self.charging,
        )
        return replace(raster, flaws=flaws, start_s=start_s)


def open_scene(
    name: str,
    specimen: Specimen,
    view: View,
    variety: Variety,
    rng: np.random.Generator,
) -> Scene:
    """A scene of `specimen` somewhere near `view`, where there is something to focus on."""
    if rng.random() < variety.soiled_share:
        dust, scratches, charging = rng.random(3) * rng.integers(0, 2, 3)
        specimen = Soiled(
            specimen=specimen,
            seed=int(rng.integers(2**31)),
            dust=float(dust),
            scratches=float(scratches),
            charging=float(charging),
        )
    optics = _column(variety, rng)
    share = float(rng.random()) if rng.random() < variety.backscatter_share else 0.0
    tilt = Tilt(
        angle_rad=variety.tilt_rad * float(rng.random()),
        azimuth_rad=float(rng.uniform(0.0, 2.0 * np.pi)),
    )
    bunches = log_uniform(rng, variety.se_yield) if happens(rng, variety.bunched_share) else 0.0
    imager = Imager(specimen, optics, Detector(backscatter=share, se_yield=bunches), tilt=tilt)
    return Scene(
        name=name,
        imager=imager,
        view=worth_looking(imager, view, rng),
        variety=variety,
        best_wd_um=float(rng.uniform(6e3, 4e4)),
        charging=variety.charging * float(rng.random()),
    )


def _column(variety: Variety, rng: np.random.Generator) -> Optics:
    optics = Optics(
        alpha_rad=log_uniform(rng, variety.alpha_rad), probe_nm=log_uniform(rng, variety.probe_nm)
    )
    if variety.wave_share == 0.0 or rng.random() >= variety.wave_share:
        return optics
    beam = Beam(kv=log_uniform(rng, variety.kv))
    return replace(optics, probe_nm=beam.probe_nm(optics.alpha_rad), beam=beam)


def _blur_wanted_px(rng: np.random.Generator, largest_px: float) -> float:
    """Near focus, where the label changes most, or far out."""
    zone = rng.random()
    if zone < 0.25:
        return float(rng.uniform(0.0, 3.0))
    if zone < 0.75:
        return log_uniform(rng, (1.0, 16.0))
    return log_uniform(rng, (8.0, largest_px))


def happens(rng: np.random.Generator, share: float) -> bool:
    """Whether what happens in a share of cases does in this one; takes nothing from `rng` where it never does."""
    return share > 0.0 and bool(rng.random() < share)


def log_uniform(rng: np.random.Generator, bounds: Range) -> float:
    """A number between two, with a uniform logarithm."""
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))


def tells_focus(field: FloatImage) -> bool:
    """Whether a sharp field (H, W) holds contrast, and detail down to its pixels."""
    return float(field.std()) >= _SPREAD_AT_LEAST and float(detail(field).std()) >= _DETAIL_AT_LEAST


def worth_looking(imager: Imager, view: View, rng: np.random.Generator) -> View:
    """A place near `view` whose field is informative; the last one tried if none is."""
    for _ in range(_TRIES):
        x_um, y_um = rng.uniform(-_STAGE_UM, _STAGE_UM, 2)
        view = replace(view, x_um=float(x_um), y_um=float(y_um))
        if tells_focus(np.ascontiguousarray(crop(imager.sharp(view), view))):
            return view
    return view


@dataclass(frozen=True, slots=True)
class Varied:
    """A specimen with a contrast and a grain of its own: `spread` is the field's standard deviation afterwards."""

    specimen: Specimen
    spread: float
    grain: float
    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        surface = self.specimen.draw(patch)
        sharp = surface.secondary
        gain = self.spread / max(float(sharp.std()), 1e-3)
        varied = 0.5 + (sharp - sharp.mean()) * np.float32(gain)
        if self.grain > 0.0:
            rng = np.random.default_rng(self.seed)
            varied += np.float32(2.0 * self.grain) * rng.standard_normal(sharp.shape, np.float32)
        return replace(surface, secondary=np.asarray(np.clip(varied, 0.0, 1.3), np.float32))


@dataclass(frozen=True, slots=True)
class Uneven:
    """A specimen on ground that rises and falls by up to `height_um`, over about `cell_um`.

    With `steps` above 0 the ground consists of that many terraces above the lowest one, with sharp edges.
    """

    specimen: Specimen
    height_um: float
    cell_um: float
    steps: int
    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        surface = self.specimen.draw(patch)
        ground = np.clip(
            value_noise(patch, self.cell_um, seed=self.seed, stream=_GROUND), -1.0, 1.0
        )
        if self.steps:
            ground = np.rint((0.5 + 0.5 * ground) * self.steps) * (2.0 / self.steps) - 1.0
        risen = np.asarray(np.float32(self.height_um) * ground, np.float32)
        own = surface.height_um
        return replace(surface, height_um=risen if own is None else own + risen)
