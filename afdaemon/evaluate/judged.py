"""Frames with what is known about them go in, the same with what the scorer says come out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.focus_scorer import FocusScorer

F = TypeVar("F")
J = TypeVar("J")
R = TypeVar("R")

_AHEAD = 2
"""Results by which each thread may be ahead of who takes them: frames are large."""


class Judge(Protocol):
    """Says of each frame how good its focus is and how sure that is."""

    def judge(self, shots: Sequence[Shot]) -> list[Measures]:
        """One score a frame, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Case(Generic[F]):
    """A frame to be judged and the facts about it."""

    shot: Shot
    facts: F


@dataclass(frozen=True, slots=True)
class Judged(Generic[F]):
    """The facts about a frame and what was said of it."""

    facts: F
    said: Measures


@dataclass(frozen=True, slots=True)
class AenetJudge:
    """AENet as the service uses it."""

    scorer: FocusScorer

    def judge(self, shots: Sequence[Shot]) -> list[Measures]:
        """One score a frame."""
        return [self.scorer.score(shot.pixels, shot.magnification) for shot in shots]


def judged(judge: Judge, cases: Iterable[Case[F]]) -> Iterator[Judged[F]]:
    """What `judge` says of each case; frames are not kept."""
    for case in cases:
        (said,) = judge.judge([case.shot])
        yield Judged(case.facts, said)


def drawn(make: Callable[[J], R], jobs: Iterable[J], *, workers: int) -> Iterator[R]:
    """`make` of each job, in their order, by so many threads beside this one: numpy lets go of the interpreter."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for job in jobs:
            waiting.append(pool.submit(make, job))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
