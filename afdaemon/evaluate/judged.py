"""Frames and the facts about them go in; the facts and what the scorer says come out."""

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
"""How many results each thread may be ahead of their consumer: frames are large."""


class Judge(Protocol):
    """Says of each frame how good its focus is and how certain that is."""

    def judge(self, shots: Sequence[Shot]) -> list[Measures]:
        """One score per frame, in order."""
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
        """One score per frame."""
        return [self.scorer.score(shot.pixels, shot.magnification) for shot in shots]


def judged(judge: Judge, cases: Iterable[Case[F]]) -> Iterator[Judged[F]]:
    """What `judge` says of each case; frames are not kept."""
    for case in cases:
        (said,) = judge.judge([case.shot])
        yield Judged(case.facts, said)


def drawn(make: Callable[[J], R], jobs: Iterable[J], *, workers: int) -> Iterator[R]:
    """`make` of each job, in order, by `workers` threads beside this one: numpy releases the interpreter lock."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for job in jobs:
            waiting.append(pool.submit(make, job))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
