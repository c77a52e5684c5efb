"""The instrument that every link speaks to: a `World`, and what may go wrong between it and a wire.

The instrument side of every link talks to this module only, so that a fault does the same on all of them. The world
stays pure physics; `FaultPlan` decides what strikes when, and this module carries it out.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from afdaemon.drivers.base import Clock, MicroscopeState
from afdaemon.sim.errors import OutOfReach
from afdaemon.sim.instrument.faults import Fault, FaultPlan
from afdaemon.sim.instrument.settings import MAGNIFICATION, WD_UM
from afdaemon.sim.instrument.told import Truth
from afdaemon.sim.instrument.world import RecordedFrame, World

_REMEMBERED_SHOTS = 8
"""Sent frames that a stale or frozen one may repeat."""
_OTHER_WD_UM = 10.0
"""A stale frame's WD differs from the present one by at least this much; otherwise it could not be recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A command that is carried out at `due_s`."""

    due_s: float
    wd_um: float
    magnification: int


class Instrument:
    """A simulated EM-30 as its links see it. Without a plan, nothing goes wrong."""

    def __init__(self, world: World, plan: FaultPlan | None = None, *, clock: Clock) -> None:
        self.world = world
        self.plan = plan or FaultPlan(seed=world.settings.seed)
        self._clock = clock
        self._start_s = clock.now_s()
        self._late: deque[_Order] = deque()
        self._sent: deque[RecordedFrame] = deque(maxlen=_REMEMBERED_SHOTS)
        self._plugged_s = self._start_s
        self._on_unplug: list[Callable[[], None]] = []

    # --- what a link asks ---

    def now_us(self) -> int:
        """The instrument's clock."""
        return round(self._clock.now_s() * 1e6)

    def settle_us(self) -> int:
        """Time from now until a frame is evidence, just after a command: lens and stage have to settle."""
        stage_s = self.world.stage_busy_until_s - self._clock.now_s()
        return round(1e6 * max(self.world.settings.settle_s, stage_s))

    def read_state(self) -> MicroscopeState:
        """WD (um) as read back, and magnification."""
        self._carry_out_late()
        return MicroscopeState(
            wd_um=self.world.read_wd_um() + (self._strikes(Fault.READBACK_WRONG) or 0.0),
            magnification=float(self.world.magnification),
        )

    def command(self, wd_um: float, magnification: float | None = None) -> None:
        """Go to `wd_um` (um), and to `magnification` if one is given. Raises `OutOfReach`; then nothing moves."""
        self._maybe_unplug()
        self._carry_out_late()
        mag = self.world.magnification if magnification is None else round(magnification)
        if not (WD_UM.holds(wd_um) and MAGNIFICATION.holds(mag)):
            self.world.command(wd_um, mag)  # which refuses, whatever else may go wrong
        if self._strikes(Fault.WD_REFUSED) is not None:
            raise OutOfReach("the instrument takes no commands at present")
        if self._strikes(Fault.WD_IGNORED) is not None:
            return
        due_s = self._clock.now_s() + (self._strikes(Fault.WD_LATE) or 0.0)
        to_um = self._overshot(wd_um, self._strikes(Fault.WD_OVERSHOT) or 0.0)
        self._late.append(_Order(due_s=due_s, wd_um=to_um, magnification=mag))
        self._carry_out_late()

    def move_stage(self, x_um: float, y_um: float) -> None:
        """Go to a place (um). Raises `OutOfReach`; then nothing moves."""
        self.world.move_stage(x_um, y_um)

    async def frames(self) -> list[RecordedFrame]:
        """The frames that answer one request: normally one, exposed when the lens has settled."""
        self._maybe_unplug()
        self._carry_out_late()
        await self.world.settle()
        shots = [await self._shoot()]
        if self._strikes(Fault.FRAME_OUT_OF_ORDER) is not None:
            shots.insert(0, await self._shoot())
        if (late_s := self._strikes(Fault.FRAME_DELAYED)) is not None:
            await self._clock.sleep(late_s)
        if self._strikes(Fault.FRAME_MISSING) is not None:
            return []
        shots = [self._instead_of(shot) for shot in shots]
        self._sent.extend(shots)
        return shots * (1 if self._strikes(Fault.FRAME_DUPLICATED) is None else 2)

    def on_wire(self, message: bytes) -> bytes:
        """The bytes that a wire carries instead of a frame's `message`."""
        if (count := self._strikes(Fault.FRAME_CORRUPT)) is not None:
            message = self.plan.damage(message, round(count))
        if (length := self._strikes(Fault.FRAME_HOLED)) is not None:
            message = self.plan.hole(message, round(length))
        if (share := self._strikes(Fault.FRAME_TRUNCATED)) is not None:
            message = message[: _before_end(share, len(message))]
        return message

    def on_wires(self, *parts: bytes) -> list[bytes]:
        """As `on_wire`, for a frame that travels in several parts: one of them, at random, is damaged."""
        damaged = list(parts)
        at = self.plan.pick(len(parts))
        damaged[at] = self.on_wire(parts[at])
        return damaged

    def breaks_at(self, length: int) -> int | None:
        """After how many of the `length` bytes about to be sent the connection is reset; None: it is not."""
        share = self._strikes(Fault.RESET)
        return None if share is None else _before_end(share, length)

    # --- the plug ---

    @property
    def unplugged(self) -> bool:
        """Whether the link is down at present: connections have to be dropped, and new ones refused."""
        return self._clock.now_s() < self._plugged_s

    def unplug(self, seconds: float) -> None:
        """Take the link down for `seconds` of the instrument's clock."""
        self._plugged_s = self._clock.now_s() + seconds
        for act in self._on_unplug:
            act()

    def replug(self) -> None:
        """Bring the link up again."""
        self._plugged_s = self._clock.now_s()

    def on_unplug(self, act: Callable[[], None]) -> None:
        """Have `act` called whenever the link is unplugged, e.g. for a server to hang up."""
        self._on_unplug.append(act)

    # --- what no link carries ---

    def truth(self) -> Truth:
        """The state of the world as it really is now."""
        self._carry_out_late()
        return self.world.truth()

    def since_start_s(self) -> float:
        """Seconds since it was switched on, the time base of fault rules."""
        return self._clock.now_s() - self._start_s

    # --- inside ---

    def _strikes(self, fault: Fault) -> float | None:
        return self.plan.strikes(fault, self.since_start_s())

    def _maybe_unplug(self) -> None:
        if (seconds := self._strikes(Fault.UNPLUG)) is not None:
            self.unplug(seconds)

    def _carry_out_late(self) -> None:
        """Carry out late commands in order, each once it is due and the instrument is asked for something."""
        while self._late and self._late[0].due_s <= self._clock.now_s():
            order = self._late.popleft()
            self.world.command(order.wd_um, order.magnification)

    def _overshot(self, wd_um: float, too_far_um: float) -> float:
        """A WD beyond `wd_um` in the direction of travel, within reach."""
        onward = 1.0 if wd_um >= self.world.truth().wd_um else -1.0
        return min(max(wd_um + onward * too_far_um, WD_UM.low), WD_UM.high)

    async def _shoot(self) -> RecordedFrame:
        shot = await self.world.expose()
        for fault in (Fault.SATURATED, Fault.BLANK):
            if (mean := self._strikes(fault)) is not None:
                shot = replace(shot, pixels=self.plan.grey(fault, shot.pixels.shape, mean))
        return replace(shot, wd_um=shot.wd_um + (self._strikes(Fault.READBACK_WRONG) or 0.0))

    def _instead_of(self, shot: RecordedFrame) -> RecordedFrame:
        """What is sent in place of `shot`. A fault that needs an earlier frame waits until there is one."""
        other = [old for old in self._sent if abs(old.wd_um - shot.wd_um) >= _OTHER_WD_UM]
        if other and self._strikes(Fault.FRAME_STALE) is not None:
            return other[-1]
        if self._sent and self._strikes(Fault.FRAME_FROZEN) is not None:
            return replace(shot, pixels=self._sent[-1].pixels)
        return shot


def _before_end(share: float, length: int) -> int:
    """How many of `length` bytes are `share` of them; never all."""
    return max(0, min(int(share * length), length - 1))
