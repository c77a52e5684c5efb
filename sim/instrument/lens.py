"""The objective lens: the working distance commanded, the one reached, and when. Pure.

A command changes the lens current, which settles exponentially. Iron has hysteresis: at the same current the field, and
so the working distance, depends on the path that led there. The memory is rate-independent, a Prandtl-Ishlinskii
operator: a weighted sum of plays (Brokate and Sprekels, Hysteresis and Phase Transitions, 1996, chapter 2). A WD
read-back comes from the lens current and does not show it. ASSUMED: that the EM-30 reads its current back,
and the widths.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

_PLAYS = (0.5, 1.0, 2.0, 4.0)
"""Half-widths of the plays in loop widths: a loop is fully open after a travel of 8 widths."""

_WEIGHT = 0.5 / sum(_PLAYS)
"""Each play's weight, so that a long way up and a long way down end one loop width apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """From `from_um` towards `to_um`, commanded at `since_s`; the distance left decays with `time_constant_s`."""

    from_um: float
    to_um: float
    since_s: float
    time_constant_s: float

    def at(self, now_s: float) -> float:
        """WD in um at `now_s`."""
        elapsed_s = max(0.0, now_s - self.since_s)
        return self.to_um + (self.from_um - self.to_um) * self._left(elapsed_s)

    def mean(self, start_s: float, end_s: float) -> float:
        """WD in um averaged over an exposure that may have begun before the command."""
        if end_s <= start_s:
            return self.at(end_s)
        before_s = min(max(0.0, self.since_s - start_s), end_s - start_s)
        begin_s = max(0.0, start_s - self.since_s)
        moving_s = end_s - start_s - before_s
        fall = self._left(begin_s) - self._left(begin_s + moving_s)
        excess_um = (self.from_um - self.to_um) * (before_s + self.time_constant_s * fall)
        return self.to_um + excess_um / (end_s - start_s)

    def _left(self, elapsed_s: float) -> float:
        """The share of the way that is left `elapsed_s` after the command."""
        if self.time_constant_s <= 0.0:
            return 0.0
        return math.exp(-elapsed_s / self.time_constant_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the lens remembers of its past commands (um).

    `backlash_um` is how far a command must turn back before the drive follows at all; `hysteresis_um` is the width of
    the loop between a long way up and a long way down. The WDs reached after these two differ by their sum.
    """

    backlash_um: float
    hysteresis_um: float
    drive_um: float
    plays_um: tuple[float, ...]

    @classmethod
    def fresh(cls, wd_um: float, *, backlash_um: float, hysteresis_um: float) -> Self:
        """A lens without memory that stands at `wd_um`, as after degaussing."""
        return cls(
            backlash_um=backlash_um,
            hysteresis_um=hysteresis_um,
            drive_um=wd_um,
            plays_um=(wd_um,) * len(_PLAYS),
        )

    def after(self, command_um: float) -> Self:
        """The memory once `command_um` has been followed."""
        drive_um = _play(command_um, self.drive_um, 0.5 * self.backlash_um)
        plays_um = tuple(
            _play(drive_um, play_um, width * self.hysteresis_um)
            for width, play_um in zip(_PLAYS, self.plays_um, strict=True)
        )
        return replace(self, drive_um=drive_um, plays_um=plays_um)

    @property
    def reached_um(self) -> float:
        """The WD at which the lens comes to rest."""
        lag_um = sum(self.drive_um - play_um for play_um in self.plays_um)
        return self.drive_um - _WEIGHT * lag_um


def _play(input_um: float, before_um: float, half_width_um: float) -> float:
    """A play (backlash) operator: the output stays until the input pulls it along."""
    return min(max(before_um, input_um - half_width_um), input_um + half_width_um)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """The lens on its way: `current` is the WD that its current stands for, `reached` the one that the beam has.

    Every command counts as followed to its end by the memory, even one that is replaced on the way.
    """

    current: Approach
    reached: Approach
    memory: Memory

    @classmethod
    def resting(cls, memory: Memory, *, now_s: float, time_constant_s: float) -> Self:
        """A lens that has long been at rest where its memory puts it."""
        wd_um = memory.reached_um
        still = Approach(from_um=wd_um, to_um=wd_um, since_s=now_s, time_constant_s=time_constant_s)
        return cls(current=still, reached=still, memory=memory)

    def commanded(self, wd_um: float, now_s: float) -> Self:
        """The lens after a command to `wd_um` at `now_s`."""
        memory = self.memory.after(wd_um)
        return replace(
            self,
            current=_onward(self.current, wd_um, now_s),
            reached=_onward(self.reached, memory.reached_um, now_s),
            memory=memory,
        )

    @property
    def since_s(self) -> float:
        """When the last command came."""
        return self.current.since_s


def _onward(way: Approach, to_um: float, now_s: float) -> Approach:
    return replace(way, from_um=way.at(now_s), to_um=to_um, since_s=now_s)
