"""What may go wrong on a simulated instrument: faults by name, with a probability and a time window. Pure.

A rule as text: `NAME[:PROBABILITY][,KEY=VALUE...]` with the keys from_s, until_s, times and amount, for example
`frame-missing`, `wd-refused:0.2`, `frame-delayed,times=3,amount=2.5`, `unplug:0.01,from_s=10,until_s=60`.
Times are seconds since the instrument was switched on.

Each fault draws from a random stream of its own, so that one does not change when another strikes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.errors import FaultError
from afdaemon.sim.harm import Amount, Meaning, damaged
from afdaemon.spec import Range, nearest


class Fault(StrEnum):
    """Everything that can be made to go wrong, in the order of its random streams."""

    FRAME_DELAYED = "frame-delayed"
    FRAME_MISSING = "frame-missing"
    FRAME_DUPLICATED = "frame-duplicated"
    FRAME_TRUNCATED = "frame-truncated"
    FRAME_CORRUPT = "frame-corrupt"
    FRAME_FROZEN = "frame-frozen"
    FRAME_STALE = "frame-stale"
    FRAME_OUT_OF_ORDER = "frame-out-of-order"
    WD_IGNORED = "wd-ignored"
    WD_REFUSED = "wd-refused"
    WD_LATE = "wd-late"
    WD_OVERSHOT = "wd-overshot"
    READBACK_WRONG = "readback-wrong"
    RESET = "reset"
    UNPLUG = "unplug"
    SATURATED = "saturated"
    BLANK = "blank"
    FRAME_HOLED = "frame-holed"


_SHARE = Range(low=0.0, high=1.0)

MEANINGS = {
    Fault.FRAME_DELAYED: Meaning(
        "the frame comes later",
        Amount(of="s", allowed=Range(low=0.0, high=600.0), usual=1.0),
    ),
    Fault.FRAME_MISSING: Meaning("the frame is exposed and never comes"),
    Fault.FRAME_DUPLICATED: Meaning("the frame comes twice"),
    Fault.FRAME_TRUNCATED: Meaning(
        "the frame's bytes end early", Amount(of="share that is kept", allowed=_SHARE)
    ),
    Fault.FRAME_CORRUPT: Meaning(
        "some bytes of the frame are changed",
        Amount(of="bytes", allowed=Range(low=1.0, high=1e6), usual=8.0),
    ),
    Fault.FRAME_FROZEN: Meaning("the grey values of the frame before, under a new header"),
    Fault.FRAME_STALE: Meaning("an older frame, of another WD, comes again in place of the new"),
    Fault.FRAME_OUT_OF_ORDER: Meaning("a frame is held back and comes behind its successor"),
    Fault.WD_IGNORED: Meaning("the command is acknowledged and nothing moves"),
    Fault.WD_REFUSED: Meaning("the command is refused and nothing moves"),
    Fault.WD_LATE: Meaning(
        "the command is acknowledged and carried out later",
        Amount(of="s", allowed=Range(low=0.0, high=600.0), usual=0.5),
    ),
    Fault.WD_OVERSHOT: Meaning(
        "the lens goes too far and stays there",
        Amount(of="um", allowed=Range(low=0.0, high=45_000.0), usual=50.0),
    ),
    Fault.READBACK_WRONG: Meaning(
        "the reported WD differs from the lens's",
        Amount(of="um", allowed=Range(low=-45_000.0, high=45_000.0), usual=100.0),
    ),
    Fault.RESET: Meaning(
        "the connection breaks in the middle of a message",
        Amount(of="share that is sent before", allowed=_SHARE),
    ),
    Fault.UNPLUG: Meaning(
        "the link is gone for a while",
        Amount(of="s", allowed=Range(low=0.001, high=3600.0), usual=1.0),
    ),
    Fault.SATURATED: Meaning(
        "the detector is overdriven: the image is white",
        Amount(of="mean grey level before clipping", allowed=Range(low=0.0, high=1000.0), usual=260.0),
    ),
    Fault.BLANK: Meaning(
        "no signal: the image is the detector's noise alone",
        Amount(of="mean grey level", allowed=Range(low=0.0, high=255.0), usual=12.0),
    ),
    Fault.FRAME_HOLED: Meaning(
        "a run of the frame's bytes is zero, like a page that was never written",
        Amount(of="bytes", allowed=Range(low=1.0, high=1e6), usual=512.0),
    ),
}  # fmt: skip

PROBABILITY = Range(low=0.0, high=1.0)
_TIME_S = Range(low=0.0, high=math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """`fault` strikes with `probability` at each occasion between `from_s` and `until_s`, at most `times` times.

    `MEANINGS` says what `amount` measures. Raises `FaultError` for an invalid value.
    """

    fault: Fault
    probability: float = 1.0
    from_s: float = 0.0
    until_s: float = math.inf
    times: int | None = None
    amount: float | None = None

    def __post_init__(self) -> None:
        self._require("probability", self.probability, PROBABILITY)
        self._require("from_s", self.from_s, _TIME_S)
        self._require("until_s", self.until_s, Range(low=self.from_s, high=math.inf))
        if self.times is not None and self.times < 1:
            raise FaultError(f"times of {self.fault} is a whole number from 1, not {self.times}")
        allowed = MEANINGS[self.fault].amount
        if self.amount is not None and allowed is None:
            raise FaultError(f"{self.fault} has no amount, so it cannot be {self.amount:g}")
        if self.amount is not None and allowed is not None:
            self._require("amount", self.amount, allowed.allowed, f" ({allowed.of})")

    def __str__(self) -> str:
        """The rule as text, which `parse_rule` reads back."""
        words = [
            self.fault.value if self.probability == 1.0 else f"{self.fault}:{self.probability!r}"
        ]
        words += [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)[2:]
            if getattr(self, field.name) != field.default
        ]
        return ",".join(words)

    def _require(self, name: str, value: float, allowed: Range, unit: str = "") -> None:
        if not allowed.holds(value):
            raise FaultError(
                f"{name} of {self.fault} lies in {allowed.low:g} to {allowed.high:g}{unit},"
                f" not {value:g}"
            )


def fault_named(name: str) -> Fault:
    """The fault of that name. Raises `FaultError`, which names the nearest."""
    try:
        return Fault(name)
    except ValueError:
        raise FaultError(
            f"there is no fault {name!r}{nearest(name, Fault, most_listed=len(Fault))}"
        ) from None


def parse_rule(text: str) -> FaultRule:
    """The rule that `text` stands for; see the module for its syntax. Raises `FaultError`."""
    head, *pairs = text.strip().split(",")
    name, colon, probability = head.partition(":")
    times: int | None = None
    numbers = {"probability": _number("probability", probability)} if colon else {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in _KEYS:
            raise FaultError(f"a fault has no {key!r}{nearest(key, _KEYS)}")
        if key == "times":
            times = _whole(value)
        else:
            numbers[key] = _number(key, value)
    return FaultRule(fault=fault_named(name), times=times, **numbers)


class FaultPlan:
    """The rules in force, each fault's random stream, and how often each has struck."""

    def __init__(self, rules: Iterable[FaultRule] = (), *, seed: int = 0) -> None:
        streams = np.random.default_rng([seed, 0xFA]).spawn(len(Fault))
        self._rngs = dict(zip(Fault, streams, strict=True))
        self._rules: dict[Fault, list[_Standing]] = {fault: [] for fault in Fault}
        self._strikes = dict.fromkeys(Fault, 0)
        for rule in rules:
            self.add(rule)

    @property
    def rules(self) -> tuple[FaultRule, ...]:
        """The rules in force."""
        return tuple(each.rule for standing in self._rules.values() for each in standing)

    @property
    def counts(self) -> dict[Fault, int]:
        """How often each fault has struck since the start."""
        return dict(self._strikes)

    def add(self, rule: FaultRule) -> None:
        """Add a rule to those of the same fault."""
        self._rules[rule.fault].append(_Standing(rule))

    def set(self, rule: FaultRule) -> None:
        """Replace the rules of the same fault by this one."""
        self._rules[rule.fault] = [_Standing(rule)]

    def clear(self, fault: Fault | None = None) -> None:
        """Remove the rules of `fault`, or all rules."""
        for each in Fault if fault is None else (fault,):
            self._rules[each] = []

    def strikes(self, fault: Fault, now_s: float) -> float | None:
        """The amount by which `fault` strikes on this occasion, `now_s` after the start; None if it does not."""
        for standing in self._rules[fault]:
            rule = standing.rule
            if standing.left == 0 or not rule.from_s <= now_s < rule.until_s:
                continue
            if self._rngs[fault].random() >= rule.probability:
                continue
            if standing.left is not None:
                standing.left -= 1
            self._strikes[fault] += 1
            return self._amount(rule)
        return None

    def pick(self, count: int) -> int:
        """Which of `count` parts a fault is to damage."""
        return int(self._rngs[Fault.FRAME_TRUNCATED].integers(count))

    def damage(self, data: bytes, count: int) -> bytes:
        """`data` with `count` of its bytes, at most all of them, changed."""
        return damaged(data, count, self._rngs[Fault.FRAME_CORRUPT])

    def hole(self, data: bytes, length: int) -> bytes:
        """`data` with `length` bytes in a row, at most the later half of it, set to zero."""
        length = min(length, len(data) // 2)
        at = int(self._rngs[Fault.FRAME_HOLED].integers(len(data) // 2, len(data) - length + 1))
        return data[:at] + bytes(length) + data[at + length :]

    def grey(self, fault: Fault, shape: tuple[int, ...], mean: float) -> NDArray[np.uint8]:
        """What a detector records at `mean` grey levels without an image: its noise, clipped; uint8 `shape`."""
        levels = self._rngs[fault].normal(mean, _GREY_NOISE, shape)
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8)

    def _amount(self, rule: FaultRule) -> float:
        if rule.amount is not None:
            return rule.amount
        amount = MEANINGS[rule.fault].amount
        if amount is None:
            return 0.0
        return float(self._rngs[rule.fault].random()) if amount.usual is None else amount.usual


_GREY_NOISE = 4.0
"""Standard deviation of an overdriven or unlit detector, grey levels. ASSUMED."""


@dataclass(slots=True)
class _Standing:
    """A rule in force and how often it may still strike; None: without limit."""

    rule: FaultRule
    left: int | None = None

    def __post_init__(self) -> None:
        self.left = self.rule.times


_KEYS = tuple(field.name for field in fields(FaultRule))[2:]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FaultError(f"{name} is a number, not {text!r}") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise FaultError(f"times is a whole number from 1, not {text!r}") from None
