"""The simulated instrument's world: lens, stage, specimen and detector on one clock, all chance from one seed.

Every link's instrument side, and the microscope that runs in-process, drive the same `World`. It
knows the truth, which tests and reports may ask for and no link carries.

The parts that the future makes worse have one place each: `_focus_wd_um` (drift), `_lens`
(hysteresis, slow settling), `move_stage` (where the beam falls), `render` (what a detector adds).
"""

import asyncio
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.base import Clock
from afdaemon.sim.detector import Detector
from afdaemon.sim.errors import OutOfReach
from afdaemon.sim.imaging import Imager, View
from afdaemon.sim.lens import Approach
from afdaemon.sim.optics import Optics, depth_of_focus_um, pixel_um
from afdaemon.sim.scan import Scanning
from afdaemon.sim.settings import (
    MAGNIFICATION,
    SCANS,
    STAGE_START_UM,
    STAGE_X_UM,
    STAGE_Y_UM,
    WD_UM,
    InstrumentSettings,
    Scan,
)
from afdaemon.sim.specimens.catalogue import open_specimen

SETTLING_TIME_CONSTANTS = 12.0
"""In its settling time the lens comes within e^-12 of the way: 0.3 um of the longest."""

REMEMBERED_COMMANDS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One recorded frame: `pixels`, uint8 (height, width), and what the instrument says of it.

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
class Commanded:
    """A WD (um) that was commanded at `time_s` of the world's clock."""

    time_s: float
    wd_um: float
    magnification: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What only the simulator knows.

    `dof_um` is that of the present magnification at 320 pixels.
    """

    seed: int
    specimen: str
    alpha_rad: float
    magnification: int
    start_wd_um: float
    focus_wd_um: float
    wd_um: float
    dof_um: float
    frames: int
    commands: tuple[Commanded, ...]


class World:
    """A simulated EM-30 on `clock`."""

    def __init__(self, settings: InstrumentSettings, *, clock: Clock) -> None:
        self.settings = settings
        self.mode = settings.mode
        self._clock = clock
        place, noise, readback = np.random.default_rng(settings.seed).spawn(3)
        self._noise_rng, self._readback_rng = noise, readback
        self._magnification = settings.magnification
        self._focus_um, self._start_um = _draw_wds(settings, place)
        self._stage_um = STAGE_START_UM
        x_um, y_um = place.uniform(-500.0, 500.0, 2)
        self._origin_um = (self._stage_um[0] - x_um, self._stage_um[1] - y_um)
        self._lens = self._approach(self._start_um, self._start_um)
        self._imager = Imager(
            open_specimen(settings.specimen, seed=settings.seed),
            Optics(alpha_rad=settings.alpha_rad),
            Detector(),
        )
        self._commands: deque[Commanded] = deque(maxlen=REMEMBERED_COMMANDS)
        self._frames = 0
        self._rendering = threading.Lock()

    # --- what every link may do and ask ---

    @property
    def magnification(self) -> int:
        """As commanded."""
        return self._magnification

    @property
    def scan(self) -> Scan:
        """The raster of the present mode."""
        return SCANS[self.mode]

    @property
    def frames(self) -> int:
        """How many it has recorded."""
        return self._frames

    def command(self, wd_um: float, magnification: int) -> None:
        """Send the lens to `wd_um` (um) and set the magnification.

        Raises `OutOfReach`; then nothing moves.
        """
        if not WD_UM.holds(wd_um):
            raise OutOfReach(f"WD lies in {WD_UM.low:g} to {WD_UM.high:g} um, not {wd_um:g}")
        if not MAGNIFICATION.holds(magnification):
            raise OutOfReach(
                f"magnification lies in {MAGNIFICATION.low:g} to {MAGNIFICATION.high:g},"
                f" not {magnification}"
            )
        now_s = self._clock.now_s()
        self._lens = self._approach(self._lens.at(now_s), wd_um)
        self._magnification = magnification
        self._commands.append(Commanded(time_s=now_s, wd_um=wd_um, magnification=magnification))

    def move_stage(self, x_um: float, y_um: float) -> None:
        """Put the stage to `x_um`, `y_um` (um). Raises `OutOfReach`."""
        if not (STAGE_X_UM.holds(x_um) and STAGE_Y_UM.holds(y_um)):
            raise OutOfReach(f"the stage does not reach {x_um:g}, {y_um:g} um")
        self._stage_um = (x_um, y_um)

    def read_wd_um(self) -> float:
        """The instrument's reading of its own WD: noisy, in steps."""
        return self._read_back(self._lens.at(self._clock.now_s()))

    async def settle(self) -> None:
        """Wait until the settling time after the last command is over."""
        while (left_s := self._lens.since_s + self.settings.settle_s - self._clock.now_s()) > 0.0:
            await self._clock.sleep(left_s)

    async def expose(self) -> Shot:
        """Scan one frame; the lens is where it is, settled or not."""
        scan, magnification = self.scan, self._magnification
        start_s = self._clock.now_s()
        await self._clock.sleep(scan.frame_time_s)
        end_s = self._clock.now_s()
        wd_um = self._lens.mean(start_s, end_s)
        view = View(
            x_um=self._stage_um[0] - self._origin_um[0],
            y_um=self._stage_um[1] - self._origin_um[1],
            magnification=magnification,
            width_px=scan.width_px,
            height_px=scan.height_px,
        )
        defocus_um = wd_um - self._focus_wd_um(0.5 * (start_s + end_s))
        scanning = Scanning(
            line_s=scan.frame_time_s / scan.height_px, start_s=self._frames * scan.frame_time_s
        )
        pixels = await asyncio.to_thread(self.render, view, defocus_um, scanning)
        self._frames += 1
        return Shot(
            pixels=pixels,
            wd_um=self._read_back(wd_um),
            magnification=magnification,
            number=self._frames,
            start_us=round(start_s * 1e6),
            end_us=round(end_s * 1e6),
            pixel_nm=1000.0 * pixel_um(magnification, scan.width_px),
            dwell_ns=scan.dwell_ns,
            kv=15.0,
        )

    def render(
        self, view: View, defocus_um: float, scanning: Scanning | None = None
    ) -> NDArray[np.uint8]:
        """Grey values of `view`, uint8 (height, width).

        Blocks: an exposure calls it in a thread.
        """
        with self._rendering:  # a cancelled exposure leaves its thread at work
            return self._imager.expose(
                view, defocus_um=defocus_um, rng=self._noise_rng, scan=scanning
            )

    # --- what no link carries ---

    def truth(self) -> Truth:
        """The state of the world as it really is now."""
        now_s = self._clock.now_s()
        return Truth(
            seed=self.settings.seed,
            specimen=self.settings.specimen,
            alpha_rad=self.settings.alpha_rad,
            magnification=self._magnification,
            start_wd_um=self._start_um,
            focus_wd_um=self._focus_wd_um(now_s),
            wd_um=self._lens.at(now_s),
            dof_um=depth_of_focus_um(self._magnification, self.settings.alpha_rad),
            frames=self._frames,
            commands=tuple(self._commands),
        )

    def _focus_wd_um(self, now_s: float) -> float:
        return self._focus_um

    def _read_back(self, wd_um: float) -> float:
        noisy_um = wd_um + self._readback_rng.normal(0.0, self.settings.wd_noise_um)
        quantum_um = self.settings.wd_quantum_um
        return float(round(noisy_um / quantum_um) * quantum_um)

    def _approach(self, from_um: float, to_um: float) -> Approach:
        return Approach(
            from_um=from_um,
            to_um=to_um,
            since_s=self._clock.now_s(),
            time_constant_s=self.settings.settle_s / SETTLING_TIME_CONSTANTS,
        )


def _draw_wds(settings: InstrumentSettings, rng: np.random.Generator) -> tuple[float, float]:
    """(focus, start) in um: as set, or drawn with the start 5 to 20 depths of focus away, at most 2 mm."""
    dof_um = depth_of_focus_um(settings.magnification, settings.alpha_rad)
    focus_um = float(rng.uniform(9_000.0, 15_000.0))
    away_um = min(2_000.0, float(rng.uniform(5.0, 20.0)) * dof_um) * float(rng.choice((-1.0, 1.0)))
    if settings.focus_wd_um is not None:
        focus_um = settings.focus_wd_um
    elif settings.start_wd_um is not None:
        focus_um = settings.start_wd_um - away_um
    start_um = focus_um + away_um if settings.start_wd_um is None else settings.start_wd_um
    return _clip(focus_um), _clip(start_um)


def _clip(wd_um: float) -> float:
    return min(max(wd_um, WD_UM.low), WD_UM.high)
