"""What may go wrong on the way between a driver and an instrument: troubles by name, scripted or drawn. Pure.

A rule as text: `NAME[:PROBABILITY][,KEY=VALUE...]` with the keys way, step, from_step, times and amount, for example
`drop`, `half,step=4`, `delay:0.2,amount=1.5`, `double,way=commands,times=1`, `garble:0.1,way=frames`.

A conversation is a connection. Its step 1 is the first thing that the driver says, and all that comes back before the
second; what it has not asked for is step 0. In a drop folder each frame is a step.

Each trouble draws from a random stream of its own, so that one does not change when another strikes.

Faults of the instrument itself are the business of `afdaemon.sim.instrument.faults`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

import numpy as np

from afdaemon.sim.errors import ChaosError
from afdaemon.sim.harm import Amount, Meaning, damaged
from afdaemon.spec import Range, check, choice, nearest, number, require_known, whole

__all__ = [
    "MEANINGS",
    "Act",
    "Chaos",
    "Cut",
    "Freeze",
    "Rule",
    "Send",
    "Talk",
    "Trouble",
    "Wait",
    "Way",
    "parse_rule",
]

MOST_PIECES = 256
"""A longer message is split into so many pieces: a frame in single bytes would take minutes."""
_PACES_PER_S = 50.0
"""Pieces per second of a throttled message."""


class Way(StrEnum):
    """Where something passes: to the instrument, back from it, or through its drop folder."""

    COMMANDS = "commands"
    ANSWERS = "answers"
    FRAMES = "frames"


class Trouble(StrEnum):
    """Everything that can happen to a message, in the order of its random streams."""

    SHIFT = "shift"
    REORDER = "reorder"
    DROP = "drop"
    DOUBLE = "double"
    GARBLE = "garble"
    HALF = "half"
    CUT = "cut"
    THROTTLE = "throttle"
    SPLIT = "split"
    DELAY = "delay"
    FREEZE = "freeze"


_SECONDS = Range(low=0.0, high=3600.0)

MEANINGS: Mapping[Trouble, Meaning] = {
    Trouble.SHIFT: Meaning("it comes in place of its successor, and so do all that follow"),
    Trouble.REORDER: Meaning("it comes behind its successor"),
    Trouble.DROP: Meaning("it never comes"),
    Trouble.DOUBLE: Meaning("it comes twice"),
    Trouble.GARBLE: Meaning(
        "some of its bytes are changed", Amount(of="bytes", allowed=Range(low=1.0, high=1e6), usual=8.0)
    ),
    Trouble.HALF: Meaning(
        "its first half comes, then the link breaks",
        Amount(of="share that comes", allowed=Range(low=0.0, high=1.0), usual=0.5),
    ),
    Trouble.CUT: Meaning("the link breaks instead"),
    Trouble.THROTTLE: Meaning(
        "it trickles in", Amount(of="bytes/s", allowed=Range(low=1.0, high=1e9), usual=20_000.0)
    ),
    Trouble.SPLIT: Meaning(
        f"it comes byte by byte, or in {MOST_PIECES} pieces if it is longer",
        Amount(of="s between two pieces", allowed=_SECONDS, usual=0.002),
    ),
    Trouble.DELAY: Meaning("it comes later", Amount(of="s", allowed=_SECONDS, usual=1.0)),
    Trouble.FREEZE: Meaning(
        "nothing passes, either way, and nobody hangs up", Amount(of="s", allowed=_SECONDS, usual=10.0)
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`trouble` strikes with `probability` at `step`, or at each from `from_step` on, at most `times` times.

    `MEANINGS` says what `amount` measures. Raises `ChaosError` for an invalid value.
    """

    trouble: Trouble = choice("", Trouble, "what happens", name="the trouble")
    probability: float = number(1.0, 0.0, 1.0, "", "how likely it is at each occasion")
    way: Way = choice(Way.ANSWERS, Way, "what it happens to")
    step: int | None = whole(None, 0, 10**9, "the only step at which it happens", optional=True)
    from_step: int = whole(0, 0, 10**9, "the first step at which it happens")
    times: int | None = whole(None, 1, 10**9, "how often it happens at most", optional=True)
    amount: float | None = number(None, 0.0, 1e9, "", "how much of it", optional=True)

    def __post_init__(self) -> None:
        check(self, ChaosError)
        allowed = MEANINGS[self.trouble].amount
        if self.amount is None:
            return
        if allowed is None:
            raise ChaosError(f"{self.trouble} has no amount, so it cannot be {self.amount:g}")
        if not allowed.allowed.holds(self.amount):
            raise ChaosError(
                f"amount of {self.trouble} lies in {allowed.allowed} ({allowed.of}), not {self.amount:g}"
            )

    @property
    def size(self) -> float:
        """The amount, or what is usual; 0 for a trouble that has none."""
        amount = MEANINGS[self.trouble].amount
        usual = 0.0 if amount is None or amount.usual is None else amount.usual
        return usual if self.amount is None else self.amount

    def is_due(self, way: Way, step: int) -> bool:
        """Whether it may strike what passes this way at this step."""
        return way is self.way and step >= self.from_step and self.step in (None, step)

    def __str__(self) -> str:
        """The rule as text, which `parse_rule` reads back."""
        words = [self.trouble.value + ("" if self.probability == 1.0 else f":{self.probability!r}")]
        words += [
            f"{each.name}={getattr(self, each.name)}"
            for each in fields(self)[2:]
            if getattr(self, each.name) != each.default
        ]
        return ",".join(words)


_KEYS = tuple(each.name for each in fields(Rule))[2:]


def parse_rule(text: str) -> Rule:
    """The rule that `text` stands for; see the module for its syntax. Raises `ChaosError`."""
    head, *pairs = text.strip().split(",")
    name, colon, probability = head.partition(":")
    if name not in list(Trouble):
        listed = nearest(name, Trouble, most_listed=len(Trouble))
        raise ChaosError(f"there is no trouble {name!r}{listed}")
    values = {"probability": probability} if colon else {}
    values |= {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    require_known(set(values) - {"probability"}, _KEYS, ChaosError)
    return Rule(trouble=Trouble(name), **values)  # type: ignore[arg-type]  # texts: `check` reads them


# --- what is done with a message ---


@dataclass(frozen=True, slots=True)
class Send:
    """Pass these bytes on. `ends`: the message is complete with them."""

    data: bytes
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds before the next act."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """Let nothing pass, either way, for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the link."""


Act = Send | Wait | Freeze | Cut
Acts = tuple[Act, ...]


@dataclass(slots=True)
class _Standing:
    """A rule in force and how often it may still strike; None: without limit."""

    rule: Rule
    left: int | None


class Chaos:
    """The rules in force, each trouble's random stream, and how often each has struck: for all conversations."""

    def __init__(self, rules: Iterable[Rule] = (), *, seed: int = 0) -> None:
        streams = np.random.default_rng([seed, 0xC4]).spawn(len(Trouble))
        self._rngs = dict(zip(Trouble, streams, strict=True))
        self._standing: list[_Standing] = []
        self._strikes = dict.fromkeys(Trouble, 0)
        for rule in rules:
            self.add(rule)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return tuple(standing.rule for standing in self._standing)

    @property
    def counts(self) -> dict[Trouble, int]:
        """How often each trouble has struck since the start."""
        return dict(self._strikes)

    def add(self, rule: Rule) -> None:
        """Add a rule."""
        self._standing.append(_Standing(rule, rule.times))

    def clear(self) -> None:
        """Remove all rules; what was held back is passed on with what comes next."""
        self._standing.clear()

    def talk(self) -> "Talk":
        """A new conversation."""
        return Talk(self)

    def strikes(self, trouble: Trouble, way: Way, step: int) -> Rule | None:
        """The rule by which `trouble` strikes on this occasion; None if it does not."""
        for standing in self._standing:
            rule = standing.rule
            if rule.trouble is not trouble or standing.left == 0 or not rule.is_due(way, step):
                continue
            if self._rngs[trouble].random() >= rule.probability:
                continue
            if standing.left is not None:
                standing.left -= 1
            self._strikes[trouble] += 1
            return rule
        return None

    def garbled(self, data: bytes, count: int) -> bytes:
        """`data` with `count` of its bytes, at most all of them, changed."""
        return damaged(data, count, self._rngs[Trouble.GARBLE])

    def pick(self, count: int) -> int:
        """Which of `count` parts of a message are to suffer."""
        return int(self._rngs[Trouble.DROP].integers(count))


@dataclass(slots=True)
class Talk:
    """One conversation: says what is to be done with each message that passes."""

    chaos: Chaos
    step: int = 0
    _held: dict[Way, list[bytes]] = field(default_factory=lambda: {way: [] for way in Way})

    def hear(self, data: bytes, way: Way) -> Acts:
        """What to do with `data`, which arrived just now, in order."""
        if way is not Way.ANSWERS:
            self.step += 1
        acts: Acts = tuple(Send(each) for each in self._in_turn(data, way))
        for trouble, suffer in _SUFFER.items():
            rule = self.chaos.strikes(trouble, way, self.step) if acts else None
            if rule is not None:
                acts = suffer(acts, rule, self.chaos)
        return acts

    def _in_turn(self, data: bytes, way: Way) -> list[bytes]:
        """What passes now: `data` and what was held back, or one of them, or neither."""
        held, self._held[way] = self._held[way], []
        if self.chaos.strikes(Trouble.SHIFT, way, self.step) is not None:
            self._held[way] = [data]
            return held
        if not held and self.chaos.strikes(Trouble.REORDER, way, self.step) is not None:
            self._held[way] = [data]
            return []
        return [data, *held]


def _pieces(acts: Acts, count_of: Callable[[int], int], gap_s: float) -> Acts:
    """Each message in pieces, with a pause between any two; `count_of` its length says in how many."""
    broken: list[Act] = []
    for act in acts:
        if not isinstance(act, Send):
            broken.append(act)
            continue
        count = max(1, min(count_of(len(act.data)), len(act.data)))
        ends = [len(act.data) * (at + 1) // count for at in range(count)]
        for begin, end in zip([0, *ends], ends, strict=False):
            broken.append(Send(act.data[begin:end], ends=act.ends and end == ends[-1]))
            broken.append(Wait(gap_s))
        broken.pop()
    return tuple(broken)


def _halved(acts: Acts, rule: Rule, _: Chaos) -> Acts:
    first = next(act for act in acts if isinstance(act, Send))
    kept = min(int(rule.size * len(first.data)), len(first.data) - 1)
    return Send(first.data[:kept], ends=False), Cut()


def _garbled(acts: Acts, rule: Rule, chaos: Chaos) -> Acts:
    count = round(rule.size)
    return tuple(
        replace(act, data=chaos.garbled(act.data, count)) if isinstance(act, Send) else act
        for act in acts
    )


def _throttled(acts: Acts, rule: Rule, _: Chaos) -> Acts:
    return _pieces(
        acts, lambda size: math.ceil(size * _PACES_PER_S / rule.size), 1.0 / _PACES_PER_S
    )


def _split(acts: Acts, rule: Rule, _: Chaos) -> Acts:
    return _pieces(acts, lambda size: min(size, MOST_PIECES), rule.size)


_SUFFER: Mapping[Trouble, Callable[[Acts, Rule, Chaos], Acts]] = {
    Trouble.DROP: lambda _acts, _rule, _chaos: (),
    Trouble.DOUBLE: lambda acts, _rule, _chaos: acts + acts,
    Trouble.GARBLE: _garbled,
    Trouble.HALF: _halved,
    Trouble.CUT: lambda _acts, _rule, _chaos: (Cut(),),
    Trouble.THROTTLE: _throttled,
    Trouble.SPLIT: _split,
    Trouble.DELAY: lambda acts, rule, _: (Wait(rule.size), *acts),
    Trouble.FREEZE: lambda acts, rule, _: (Freeze(rule.size), *acts),
}
"""What becomes of a message, in the order in which several troubles are applied to it."""
