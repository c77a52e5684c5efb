"""The simulated instrument's world: column, stage, specimen and detector on one clock, all randomness from one seed.

Every link's instrument side, and the microscope that runs in-process, drive the same `World`. It knows the ground
truth, which tests and reports may ask for and no link carries.

Repeatable: the same seed and the same commands give the same bytes, over every link and in every run, as long as the
world ages with its work (see `afdaemon.sim.instrument.age`). To that end each exposure's noise and read-back depend on
the seed and on the exposure's number alone, and readings in between draw from a stream of their own.
"""

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.base import Clock
from afdaemon.sim.errors import OutOfReach
from afdaemon.sim.imaging.frame import Imager, View
from afdaemon.sim.imaging.prints import parse_prints, printed
from afdaemon.sim.imaging.scan import Scanning
from afdaemon.sim.instrument.age import Age
from afdaemon.sim.instrument.column import Column, draw_wds, rested_lens
from afdaemon.sim.instrument.settings import (
    KV,
    MAGNIFICATION,
    SCANS,
    STAGE_START_UM,
    STAGE_X_UM,
    STAGE_Y_UM,
    WD_UM,
    InstrumentSettings,
    Scan,
)
from afdaemon.sim.instrument.stage import Place, Travel
from afdaemon.sim.instrument.told import Commanded, Truth
from afdaemon.sim.optics import Optics, depth_of_focus_um, pixel_um
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.surface import FloatImage
from afdaemon.sim.truth import focus_score

REMEMBERED_COMMANDS = 2000
"""The last commands, which the truth lists."""
_CREEP_STEP_PX = 0.25
"""The field follows the specimen's creep in steps of this size, so that it need not be redrawn for each frame."""


class Stream(IntEnum):
    """The random streams of a seed, by the key that they are spawned with."""

    PLACE = 0
    READINGS = 1
    COLUMN = 2
    NOISE = 3
    READ_BACK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFrame:
    """One recorded frame: `pixels`, uint8 (height, width), and what the instrument says about it.

    `number` advances with each exposure, which lasted from `start_us` to `end_us` of the world's clock.
    """

    pixels: NDArray[np.uint8]
    wd_um: float
    magnification: int
    number: int
    start_us: int
    end_us: int
    pixel_nm: float
    dwell_ns: float
    kv: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Everything that determines a frame's grey values, apart from the specimen."""

    number: int
    view: View
    defocus_um: float
    optics: Optics
    scanning: Scanning
    dwell_ns: float


class World:
    """A simulated EM-30 on `clock`."""

    def __init__(self, settings: InstrumentSettings, *, clock: Clock) -> None:
        self.settings = settings
        self.mode = settings.mode
        self._clock = clock
        self._age = Age(clock, settings.ageing)
        place = self._random(Stream.PLACE)
        self._readings = self._random(Stream.READINGS)
        self._magnification, self._kv = settings.magnification, settings.column.kv
        focus_um, self._start_um = draw_wds(settings, place)
        self._column = Column.drawn(settings, focus_um, self._random(Stream.COLUMN))
        self._lens = rested_lens(settings, self._start_um)
        self._travel = Travel.resting(STAGE_START_UM)
        x_um, y_um = place.uniform(-500.0, 500.0, 2)
        self._origin_um = (STAGE_START_UM[0] - x_um, STAGE_START_UM[1] - y_um)
        self._imager = Imager(
            open_specimen(settings.specimen, seed=settings.seed),
            self._column.optics(self._start_um, self._kv),
            settings.detector.at(settings.column.spot, self.scan.dwell_ns),
            tilt=settings.stage.tilt,
        )
        self._height_um = 0.0
        self._commands: deque[Commanded] = deque(maxlen=REMEMBERED_COMMANDS)
        self._exposures = 0
        self._ready_s = self._stage_free_s = clock.now_s()
        self._ready_age_s = 0.0
        self._rendering = threading.Lock()

    # --- what every link may do and ask ---

    @property
    def magnification(self) -> int:
        """As commanded."""
        return self._magnification

    @property
    def scan(self) -> Scan:
        """The raster of the present mode."""
        return replace(SCANS[self.mode], line_average=self.settings.scan.line_average)

    @property
    def frames(self) -> int:
        """How many it has begun to record."""
        return self._exposures

    @property
    def stage_busy_until_s(self) -> float:
        """When, on the world's clock, the stage arrives or has arrived."""
        return self._stage_free_s

    def command(self, wd_um: float, magnification: int) -> None:
        """Send the lens to `wd_um` (um, rounded to the instrument's step) and set the magnification.

        Raises `OutOfReach`; then nothing moves.
        """
        if not WD_UM.holds(wd_um):
            raise OutOfReach(f"WD lies in {WD_UM.low:g} to {WD_UM.high:g} um, not {wd_um:g}")
        if not MAGNIFICATION.holds(magnification):
            raise OutOfReach(
                f"magnification lies in {MAGNIFICATION.low:g} to {MAGNIFICATION.high:g},"
                f" not {magnification}"
            )
        self._lens = self._lens.commanded(self._stepped(wd_um), self._begin())
        self._busy_for(self.settings.settle_s)
        self._magnification = magnification
        self._commands.append(
            Commanded(time_s=self._clock.now_s(), wd_um=wd_um, magnification=magnification)
        )

    def move_stage(self, x_um: float, y_um: float) -> None:
        """Send the stage to `x_um`, `y_um` (um); it is there at `stage_busy_until_s`.

        Raises `OutOfReach`; then nothing moves.
        """
        if not (STAGE_X_UM.holds(x_um) and STAGE_Y_UM.holds(y_um)):
            raise OutOfReach(f"the stage does not reach {x_um:g}, {y_um:g} um")
        stage = self.settings.stage
        self._travel = self._travel.onward(
            (x_um, y_um),
            now_s=self._begin(),
            speed_um_per_s=stage.speed_um_per_s,
            least_s=stage.least_s,
        )
        self._busy_for(self._travel.takes_s)
        self._stage_free_s = self._clock.now_s() + self._travel.takes_s

    def set_kv(self, kv: float) -> None:
        """Change the accelerating voltage (kV), and with it the focus. Raises `OutOfReach`; then nothing changes."""
        if not KV.holds(kv):
            raise OutOfReach(f"the voltage lies in {KV} kV, not {kv:g}")
        self._kv = kv

    def read_wd_um(self) -> float:
        """The instrument's reading of its own WD, from the lens current: noisy, in steps."""
        return self._read_back(self._lens.current.at(self._age.seen_s()), self._readings)

    async def settle(self) -> None:
        """Wait until the settling time after the last command is over, and the stage has arrived."""
        while (left_s := self._ready_s - self._clock.now_s()) > 0.0:
            await self._clock.sleep(left_s)
        self._age.reach(self._ready_age_s)

    async def expose(self) -> RecordedFrame:
        """Scan one frame; lens and stage are where they are, settled or not."""
        self._exposures += 1
        number, scan, magnification, kv = self._exposures, self.scan, self._magnification, self._kv
        start_s = self._clock.now_s()
        age_s = await self._age.work(scan.frame_time_s)
        exposure = self._exposure(number, scan, magnification, kv, age_s)
        told_um = self._lens.current.mean(age_s, age_s + scan.frame_time_s)
        return RecordedFrame(
            pixels=await asyncio.to_thread(self._picture, exposure),
            wd_um=self._read_back(told_um, self._random(Stream.READ_BACK, number)),
            magnification=magnification,
            number=number,
            start_us=round(start_s * 1e6),
            end_us=round((start_s + scan.frame_time_s) * 1e6),
            pixel_nm=1000.0 * pixel_um(magnification, scan.width_px),
            dwell_ns=scan.line_average * scan.dwell_ns,
            kv=kv,
        )

    def _picture(self, exposure: Exposure) -> NDArray[np.uint8]:
        """What leaves the instrument: the frame, and what its software draws over it."""
        return printed(self.render(exposure), parse_prints(self.settings.prints), exposure.number)

    def render(self, exposure: Exposure) -> NDArray[np.uint8]:
        """Grey values, uint8 (height, width). Blocks: an exposure calls it in a thread."""
        rng = self._random(Stream.NOISE, exposure.number)
        with self._rendering:  # a cancelled exposure leaves its thread at work
            self._imager.detector = self.settings.detector.at(
                self.settings.column.spot, exposure.dwell_ns
            )
            pixels = self._imager.expose(
                exposure.view,
                defocus_um=exposure.defocus_um,
                rng=rng,
                optics=exposure.optics,
                scan=exposure.scanning,
            )
            self._height_um = self._imager.focus_height_um(exposure.view)
        return pixels

    # --- what no link carries ---

    def truth(self) -> Truth:
        """The state of the world as it really is now."""
        age_s, seen_s = self._age.now_s(), self._age.seen_s()
        wd_um, lens_wd_um = self._lens.reached.at(seen_s), self._lens.current.at(seen_s)
        plane_um = self._column.focus_wd_um(age_s, self._kv)
        optics = self._column.optics(wd_um, self._kv)
        blur = optics.blur(wd_um - plane_um + self._height_um, self._magnification)
        x_um, y_um = self._travel.at(seen_s)
        return Truth(
            seed=self.settings.seed,
            specimen=self.settings.specimen,
            alpha_rad=optics.alpha_rad,
            magnification=self._magnification,
            start_wd_um=self._start_um,
            focus_wd_um=plane_um - self._height_um,
            wd_um=wd_um,
            dof_um=depth_of_focus_um(self._magnification, optics.alpha_rad),
            frames=self._exposures,
            commands=tuple(self._commands),
            plane_wd_um=plane_um,
            height_um=self._height_um,
            lens_wd_um=lens_wd_um,
            hysteresis_um=wd_um - lens_wd_um,
            drift_um=self._column.drift_um(age_s),
            astigmatism_x_um=optics.astigmatism_um[0],
            astigmatism_y_um=optics.astigmatism_um[1],
            probe_nm=optics.probe_nm,
            kv=self._kv,
            blur_px=blur.radius_px,
            score=focus_score(blur.radius_px),
            stage_x_um=x_um,
            stage_y_um=y_um,
            stage_moves=seen_s < self._travel.until_s,
            rotation_rad=self._column.rotation_rad(self._magnification, lens_wd_um),
            age_s=age_s,
        )

    def noiseless(self, away_um: float) -> FloatImage:
        """What the present field would show without noise, `away_um` beyond the best WD of the specimen's plane.

        Signal (height, width), float32. Not while a frame is being exposed.
        """
        seen_s = self._age.seen_s()
        scan, wd_um = self.scan, self._lens.reached.at(seen_s)
        view = self._view(self._magnification, wd_um, scan, seen_s)
        return self._imager.signal(view, away_um, self._column.optics(wd_um, self._kv))

    # --- inside ---

    def _random(self, *key: int) -> np.random.Generator:
        """A random stream of the seed; the same key gives the same stream."""
        return np.random.default_rng(np.random.SeedSequence(self.settings.seed, spawn_key=key))

    def _begin(self) -> float:
        """The age at which an order is carried out; any order before it is over by then."""
        self._age.reach(self._ready_age_s)
        return self._age.now_s()

    def _busy_for(self, takes_s: float) -> None:
        self._ready_s = max(self._ready_s, self._clock.now_s() + takes_s)
        self._ready_age_s = max(self._ready_age_s, self._age.now_s() + takes_s)

    def _exposure(
        self, number: int, scan: Scan, magnification: int, kv: float, age_s: float
    ) -> Exposure:
        """What a frame begun at `age_s` shows; focus, stage and beam are those of its middle."""
        end_s, middle_s = age_s + scan.frame_time_s, age_s + 0.5 * scan.frame_time_s
        wd_um = self._lens.reached.mean(age_s, end_s)
        view = self._view(magnification, wd_um, scan, middle_s)
        return Exposure(
            number=number,
            view=view,
            defocus_um=wd_um - self._column.focus_wd_um(middle_s, kv),
            optics=self._column.optics(wd_um, kv),
            scanning=self._scanning(scan, view.rotation_rad, age_s, middle_s),
            dwell_ns=scan.dwell_ns,
        )

    def _view(self, magnification: int, wd_um: float, scan: Scan, age_s: float) -> View:
        """What the scan covers, with the lens at a WD."""
        x_um, y_um = self._centre_um(magnification, wd_um, scan, age_s)
        return View(
            x_um=x_um,
            y_um=y_um,
            magnification=magnification * self._column.zoom(wd_um),
            width_px=scan.width_px,
            height_px=scan.height_px,
            rotation_rad=self._column.rotation_rad(magnification, wd_um),
        )

    def _centre_um(self, magnification: int, wd_um: float, scan: Scan, age_s: float) -> Place:
        """The field's centre on the specimen: stage, shift with magnification and WD, and creep in steps."""
        step_um = _CREEP_STEP_PX * pixel_um(magnification, scan.width_px)
        flaws = self.settings.scan
        stage_um = self._travel.at(age_s)
        shift_um = self._column.shift_um(magnification, wd_um)
        crept_um = (
            round(1e-3 * rate * age_s / step_um) * step_um
            for rate in (flaws.creep_x_nm_per_s, flaws.creep_y_nm_per_s)
        )
        x_um, y_um = (
            at - origin + shift + creep
            for at, origin, shift, creep in zip(
                stage_um, self._origin_um, shift_um, crept_um, strict=True
            )
        )
        return x_um, y_um

    def _scanning(self, scan: Scan, rotation_rad: float, age_s: float, middle_s: float) -> Scanning:
        """The scan's flaws; a moving stage shears the frame as creep does, only more."""
        flaws = self.settings.scan.flaws(self._travel.velocity_um_per_s(middle_s), rotation_rad)
        return Scanning(
            flaws=flaws,
            line_s=scan.frame_time_s / scan.height_px,
            start_s=age_s,
            interlace=self.settings.scan.interlace,
            line_average=scan.line_average,
        )

    def _stepped(self, wd_um: float) -> float:
        quantum_um = self.settings.wd_quantum_um
        return round(wd_um / quantum_um) * quantum_um

    def _read_back(self, wd_um: float, rng: np.random.Generator) -> float:
        return self._stepped(wd_um + rng.normal(0.0, self.settings.wd_noise_um))
