"""When to try a broken link again. Pure: states, events and actions are data.

        Begin            Opened              Lost
  idle ------> opening ----------> up ------------------+
                ^  |                                    |
     DelayOver  |  | NotOpened                          |
                |  v                                    |
               waiting <--------------------------------+

Each step answers with exactly one action. The delays start low, so that a restarted vendor program
is found at once, and double up to a cap (the known client tries every 3 s). A link that breaks soon
after it came up counts as one more failure: otherwise a peer that accepts and hangs up would be
retried without a pause.
"""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where the link stands."""

    IDLE = "idle"
    OPENING = "opening"
    UP = "up"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Seconds before the first new attempt, their cap, and how long a good link lasts at least."""

    first_s: float = 0.25
    cap_s: float = 3.0
    good_after_s: float = 5.0

    def after(self, failures: int) -> float:
        """Delay in seconds after that many failures in a row (1 or more)."""
        return min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 32))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """Phase and the failures in a row."""

    phase: Phase = Phase.IDLE
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Begin:
    """Start keeping the link up."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The attempt succeeded."""


@dataclass(frozen=True, slots=True)
class NotOpened:
    """The attempt failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The link broke after it had been up for `up_s` seconds."""

    up_s: float


@dataclass(frozen=True, slots=True)
class DelayOver:
    """The delay has passed."""


Event = Begin | Opened | NotOpened | Lost | DelayOver


@dataclass(frozen=True, slots=True)
class Open:
    """Try to open the link; answer with `Opened` or `NotOpened`."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Wait until the link breaks; answer with `Lost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Wait `seconds`; answer with `DelayOver`."""

    seconds: float


Action = Open | Watch | Delay


class TransitionError(RuntimeError):
    """An event that cannot happen in the present phase: a fault of the program, not of the link."""


def step(state: LinkState, event: Event, delays: Delays) -> tuple[LinkState, Action]:
    """The next state and the one thing to do now. Raises `TransitionError`."""
    match state.phase, event:
        case (Phase.IDLE, Begin()) | (Phase.WAITING, DelayOver()):
            return LinkState(phase=Phase.OPENING, failures=state.failures), Open()
        case Phase.OPENING, Opened():
            return LinkState(phase=Phase.UP, failures=state.failures), Watch()
        case Phase.OPENING, NotOpened():
            return _wait(state.failures + 1, delays)
        case Phase.UP, Lost(up_s=up_s):
            return _wait(1 if up_s >= delays.good_after_s else state.failures + 1, delays)
        case _:
            raise TransitionError(f"{type(event).__name__} while {state.phase}")


def _wait(failures: int, delays: Delays) -> tuple[LinkState, Action]:
    state = LinkState(phase=Phase.WAITING, failures=failures)
    return state, Delay(seconds=delays.after(failures))
