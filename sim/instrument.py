"""The instrument that every link speaks to: a `World`, and what may go wrong between it and a wire.

A link's instrument side asks here and nowhere else, so that a fault does the same on all of them.
"""

from afdaemon.drivers.base import Clock, MicroscopeState
from afdaemon.sim.world import Shot, World


class Instrument:
    """A simulated EM-30 as its links see it."""

    def __init__(self, world: World, *, clock: Clock) -> None:
        self.world = world
        self._clock = clock

    def now_us(self) -> int:
        """The instrument's clock."""
        return round(self._clock.now_s() * 1e6)

    def settle_us(self) -> int:
        """How long after a command a frame is evidence."""
        return round(self.world.settings.settle_s * 1e6)

    def read_state(self) -> MicroscopeState:
        """WD (um) as read back, and magnification."""
        return MicroscopeState(
            wd_um=self.world.read_wd_um(), magnification=float(self.world.magnification)
        )

    def command(self, wd_um: float, magnification: float | None = None) -> None:
        """Go to `wd_um` (um), and to `magnification` if one is given. Raises `OutOfReach`; then nothing moves."""
        present = self.world.magnification
        self.world.command(wd_um, present if magnification is None else round(magnification))

    def move_stage(self, x_um: float, y_um: float) -> None:
        """Go to a place (um). Raises `OutOfReach`; then nothing moves."""
        self.world.move_stage(x_um, y_um)

    async def frames(self) -> list[Shot]:
        """What comes for one request: as a rule one frame, exposed when the lens has settled."""
        await self.world.settle()
        return [await self.world.expose()]

    def on_wire(self, message: bytes) -> bytes:
        """The bytes that a wire carries instead of a frame's `message`."""
        return message

    def breaks_at(self, length: int) -> int | None:
        """After how many of the `length` bytes about to be sent the connection is reset; None: it is not."""
        return None
