"""When to try a broken link again. Pure: states, events and actions are data.

        Begin            Opened              Lost
  idle ------> opening ----------> up ------------------+
                ^  |                                    |
     DelayOver  |  | NotOpened                          |
                |  v                                    |
          +--> waiting <--------------------------------+
          |     |
          +-----+ Wanted

Each step answers with exactly one action. The delays start low, so that a restarted vendor program
is found at once, and double up to a cap (the known client tries every 3 s). A link that breaks soon
after it came up counts as one more failure: otherwise a peer that accepts and hangs up would be
retried without a pause.

While somebody waits for the link, no delay is longer than the first: a lens may stand where a broken link left it, and
whoever is to bring it home has little time.
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

    def after(self, failures: int, *, is_wanted: bool = False) -> float:
        """Delay in seconds after that many failures in a row (1 or more); `is_wanted`: somebody waits for the link."""
        doublings = 0 if is_wanted else min(failures - 1, 32)
        return min(self.cap_s, self.first_s * 2.0**doublings)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOpened:
    """The attempt failed; `is_wanted`: somebody waits for the link."""

    is_wanted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The link broke after it had been up for `up_s` seconds; `is_wanted`: somebody waits for it."""

    up_s: float
    is_wanted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Somebody begins to wait for the link during a delay of which `left_s` seconds are left."""

    left_s: float


@dataclass(frozen=True, slots=True)
class DelayOver:
    """The delay has passed."""


Event = Begin | Opened | NotOpened | Lost | Wanted | DelayOver


@dataclass(frozen=True, slots=True)
class Open:
    """Try to open the link; answer with `Opened` or `NotOpened`."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Wait until the link breaks; answer with `Lost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Wait `seconds`; answer with `DelayOver`, or with `Wanted` where somebody begins to wait."""

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
        case Phase.OPENING, NotOpened(is_wanted=is_wanted):
            return _wait(state.failures + 1, delays, is_wanted=is_wanted)
        case Phase.UP, Lost(up_s=up_s, is_wanted=is_wanted):
            failures = 1 if up_s >= delays.good_after_s else state.failures + 1
            return _wait(failures, delays, is_wanted=is_wanted)
        case Phase.WAITING, Wanted(left_s=left_s):
            return state, Delay(seconds=min(left_s, delays.first_s))
        case _:
            raise TransitionError(f"{type(event).__name__} while {state.phase}")


def _wait(failures: int, delays: Delays, *, is_wanted: bool) -> tuple[LinkState, Action]:
    state = LinkState(phase=Phase.WAITING, failures=failures)
    return state, Delay(seconds=delays.after(failures, is_wanted=is_wanted))
