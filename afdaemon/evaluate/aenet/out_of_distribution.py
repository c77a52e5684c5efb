"""Frames out of the training distribution: are they flagged, and is nothing else doubted?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from afdaemon.evaluate.aenet.drawn_pictures import KINDS
from afdaemon.evaluate.aenet.test_part import Truth
from afdaemon.evaluate.judged import Case, Judge, Judged, judged
from afdaemon.evaluate.section import Section, at_least, at_most
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.shot import Shot
from afdaemon.sim.datasets.scenes import log_uniform

_CONFIDENCE_AT_MOST = 0.2
_DOUBTED_SHARE = 0.95
_WRONGLY_DOUBTED_SHARE = 0.02
_MAGNIFICATIONS = (500.0, 20_000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """An out-of-distribution frame: what was drawn instead of a specimen."""

    kind: str


def measure(judge: Judge, test_part: Sequence[Judged[Truth]], *, each: int, seed: int) -> Section:
    """`each` frames of every out-of-distribution kind, and the test part, which was judged already."""
    return conclude(list(judged(judge, cases(each=each, seed=seed))), test_part)


def cases(*, each: int, seed: int) -> Iterator[Case[Stranger]]:
    """Out-of-distribution frames of all kinds, 320 x 240."""
    for kind, draw in KINDS.items():
        rng = np.random.default_rng([seed, *kind.encode()])
        for _ in range(each):
            pixels = draw(rng)
            magnification = log_uniform(rng, _MAGNIFICATIONS)
            yield Case(Shot(pixels=pixels, magnification=magnification), Stranger(kind=kind))


def is_doubted(said: Measures) -> bool:
    """Whether a score is given with little confidence and a reason for that."""
    return said.confidence <= _CONFIDENCE_AT_MOST and bool(said.doubt)


def conclude(found: Sequence[Judged[Stranger]], test_part: Sequence[Judged[Truth]]) -> Section:
    """Shares of the doubted, kind by kind."""
    rows = {
        kind: [one.said for one in found if one.facts.kind == kind]
        for kind in dict.fromkeys(one.facts.kind for one in found)
    }
    share = _share([one.said for one in found])
    wrongly = _share([one.said for one in test_part])
    lines = [f"{'frames':<16}{'n':>6}{'doubted':>9}{'confidence':>12}   reasons"]
    lines += [_line(kind, said) for kind, said in rows.items()]
    lines.append(_line("test part", [one.said for one in test_part]))
    return Section(
        key="strangers",
        title="Frames that no training frame resembles",
        lines=lines,
        bars=[
            at_least("strange frames: share doubted", share, _DOUBTED_SHARE),
            at_most("test part: share doubted", wrongly, _WRONGLY_DOUBTED_SHARE),
        ],
        numbers={
            "doubted": {kind: _share(said) for kind, said in rows.items()},
            "test_part_doubted": wrongly,
        },
    )


def _share(several: Sequence[Measures]) -> float:
    return float(np.mean([is_doubted(said) for said in several])) if several else 0.0


def _line(kind: str, several: Sequence[Measures]) -> str:
    confidence = float(np.median([said.confidence for said in several])) if several else 0.0
    counts = Counter(said.doubt.partition(":")[0] for said in several if said.doubt)
    reasons = ", ".join(f"{reason} ({n})" for reason, n in counts.most_common(3))
    return f"{kind:<16}{len(several):>6}{_share(several):>9.3f}{confidence:>12.3f}   {reasons}"
