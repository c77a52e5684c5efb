"""A `World` as a microscope without any wire between: for tests, training and measurements of control alone."""

import asyncio

from afdaemon.drivers.base import Clock, Frame, LinkStats, MicroscopeState
from afdaemon.drivers.errors import CommandRefused, LinkTimeout, NotConnected
from afdaemon.drivers.tally import Tally
from afdaemon.sim.errors import OutOfReach
from afdaemon.sim.world import World


class InProcessMicroscope:
    """Implements `afdaemon.drivers.base.Microscope` on `world` and its clock."""

    def __init__(self, world: World, *, clock: Clock) -> None:
        self._world = world
        self._clock = clock
        self._up = asyncio.Event()
        self._tally = Tally()

    @property
    def name(self) -> str:
        """What is simulated."""
        return f"em30 (in-process, {self._world.settings.specimen})"

    @property
    def connected(self) -> bool:
        """Whether `run` has begun and `close` not been called."""
        return self._up.is_set()

    @property
    def stats(self) -> LinkStats:
        """Counters since the start."""
        return self._tally.stats

    async def run(self) -> None:
        """Be connected until cancelled."""
        self._up.set()
        self._tally.connected()
        await asyncio.get_running_loop().create_future()

    async def wait_connected(self, timeout_s: float) -> None:
        """Return when `run` has begun, or raise `LinkTimeout`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            raise LinkTimeout(f"{self.name} is not running") from None

    async def read_state(self) -> MicroscopeState:
        """WD (um), as read back, and magnification."""
        self._require_up()
        return MicroscopeState(
            wd_um=self._world.read_wd_um(), magnification=float(self._world.magnification)
        )

    async def move_wd(self, wd_um: float) -> None:
        """Command an absolute WD (um)."""
        self._require_up()
        try:
            self._world.command(wd_um, self._world.magnification)
        except OutOfReach as error:
            raise CommandRefused(f"the instrument refused WD {wd_um} um: {error}") from error
        self._tally.moved()

    async def grab(self) -> Frame:
        """A frame exposed after the lens has settled."""
        self._require_up()
        await self._world.settle()
        shot = await self._world.expose()
        shot.pixels.flags.writeable = False
        self._tally.used()
        return Frame(
            pixels=shot.pixels,
            wd_um=shot.wd_um,
            magnification=float(shot.magnification),
            sequence=self._tally.stats.frames,
            received_s=self._clock.now_s(),
        )

    async def close(self) -> None:
        """Be disconnected."""
        self._up.clear()

    def _require_up(self) -> None:
        if not self._up.is_set():
            raise NotConnected(f"{self.name} is not running")
