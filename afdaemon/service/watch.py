"""Which parts of the daemon are stuck: decided from what was seen of them, turn by turn.

Time counts only while the watcher itself runs. Where the whole process was stopped for a while, or had no processor,
nothing in it is stuck for that reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from afdaemon.pulse import Part, Work

MOST_TURN_S = 2.0
"""A turn of the watcher that took longer counts as this: it was held up itself, as was all it watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stillness:
    """A piece of work as last seen, and for how long (s) it has not gone on."""

    turns: int
    still_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A part without progress for `still_s`, in the thread `thread`."""

    part: str
    thread: int
    still_s: float

    def __str__(self) -> str:
        return f"the {self.part} has made no progress for {self.still_s:.0f} s"


Seen = Mapping[Work, Stillness]
"""All work under way, as last seen."""


def look(before: Seen, parts: Sequence[Part], elapsed_s: float) -> dict[Work, Stillness]:
    """What is seen of the `parts`, `elapsed_s` after what was seen `before`."""
    passed_s = min(elapsed_s, MOST_TURN_S)
    return {
        work: _seen(before.get(work), work, passed_s) for part in parts for work in part.under_way
    }


def _seen(before: Stillness | None, work: Work, passed_s: float) -> Stillness:
    turns = work.turns
    if before is None or before.turns != turns:
        return Stillness(turns=turns)
    return Stillness(turns=turns, still_s=before.still_s + passed_s)


def stuck(seen: Seen, parts: Sequence[Part]) -> list[Stuck]:
    """The work in `seen` that is beyond its part's deadline."""
    return [
        Stuck(part=part.name, thread=work.thread, still_s=seen[work].still_s)
        for part in parts
        for work in part.under_way
        if work in seen and seen[work].still_s >= part.deadline_s
    ]
