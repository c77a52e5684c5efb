"""Killed at any moment: what a daemon knows and does after kill -9, and what the instrument saw of it.

A job of either procedure is killed at a random moment, right after one of its steps has been committed to the journal,
or right before or after one of its moves has been acknowledged. Then the daemon is started again. The simulated
instrument stays, and knows every move.

    python benchmarks/kills.py [--quick] [--seed N] [--json FILE] [--markdown FILE] [--kills N]
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import median

import numpy as np
from kills_stage import Life, Stage, asked, stage
from reporting import conclude, parser_of
from service_stage import FOCUS_UM

from afdaemon.api import schemas as s
from afdaemon.api.client import Client
from afdaemon.control.values import MoveWd
from afdaemon.errors import RequestRefused
from afdaemon.evaluate.section import Bar, at_most
from afdaemon.job.journal import Journal

KILLS, QUICK_KILLS = 1_000, 5
MOST_READY_S = 5.0
_OFF_UM = (400.0, 1_500.0)
"""Off focus, where jobs begin: they need several moves."""
_HOME_UM = 3.0
"""The driver's tolerance, and the read-back's noise."""
_PROFILES = ("fast", "paper")
_ACCEPTING_S = 0.08
_MOST_S = 30.0
"""No job takes as long."""
_LOOK_S = 0.001
_QUIET_S = 0.3
"""With the link up, a daemon has looked around by then: whatever it does by itself, it has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What was seen of one. `moment` is when it came, `steps` how many of the job's were in the journal."""

    moment: str
    profile: str
    steps: int = 0
    was_recorded: bool = False
    had_ended: bool = False
    was_away: bool = False
    unknown_moves: int = 0
    ready_s: float = 0.0
    lost_rows: int = 0
    moves_at_start: int = 0
    moves_by_repeating: int = 0
    is_named: bool = True
    is_home: bool = True


def main() -> int:
    """Measure."""
    parser = parser_of(__doc__, quick=f"{QUICK_KILLS} kills")
    parser.add_argument("--kills", type=int, help=f"how many; default: {KILLS}")
    arguments = parser.parse_args()
    count = arguments.kills or (QUICK_KILLS if arguments.quick else KILLS)
    rng = np.random.default_rng(arguments.seed)
    with stage(arguments.seed) as place:
        life = place.start()
        try:
            usual = {profile: _usual(place, profile, rng) for profile in _PROFILES}
            moments = list(MOMENTS)
            kills = []
            for number in range(count):
                turn, which = divmod(number, len(moments))
                moment, profile = moments[which], _PROFILES[(turn + which) % len(_PROFILES)]
                life, seen = _kill(place, life, f"kill-{number}", moment, usual[profile], rng)
                kills.append(seen)
        finally:
            life.kill()
            life.process.wait()
    table, rows = _table(kills), [asdict(one) for one in kills]
    return conclude(arguments, "benchmarks/kills.py", table, _bars(kills), rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """A job of that procedure that nobody kills: how long it takes (s), its steps and moves."""

    profile: str
    seconds: float
    steps: int
    moves: int


def _usual(place: Stage, profile: str, rng: np.random.Generator) -> Usual:
    """The middle of three."""
    ran = []
    place.status(lambda status: status.microscope.connected and status.models)
    with Client(place.endpoint) as client:
        for _ in range(3):
            client.set_wd(_start_um(rng))
            began_s = time.perf_counter()
            job = client.autofocus(profile=profile)
            seconds = time.perf_counter() - began_s
            ran.append((seconds, place.steps(job.job), job.moves or 0))
    seconds, steps, moves = (median(column) for column in zip(*ran, strict=True))
    return Usual(profile=profile, seconds=seconds, steps=int(steps), moves=int(moves))


def _start_um(rng: np.random.Generator) -> float:
    return FOCUS_UM + float(rng.choice((-1.0, 1.0)) * rng.uniform(*_OFF_UM))


# Moments


@contextmanager
def _at_move(place: Stage, life: Life, nth: int, *, has_gone: bool) -> Iterator[None]:
    """Killed at the `nth` move: before it goes on to the instrument, or after its answer has gone to the daemon."""
    seen = 0

    def on_move(is_answered: bool) -> None:
        nonlocal seen
        seen += is_answered is has_gone
        if seen == nth:
            life.kill()

    place.wire.on_move = on_move
    try:
        yield
    finally:
        place.wire.on_move = None


Moment = Callable[[Stage, Life, str, np.random.Generator, Usual], None]


def _at_random(
    _place: Stage, life: Life, _job: str, rng: np.random.Generator, usual: Usual
) -> None:
    time.sleep(float(rng.uniform(0.0, usual.seconds)))
    life.kill()


def _being_accepted(
    _place: Stage, life: Life, _job: str, rng: np.random.Generator, _usual: Usual
) -> None:
    time.sleep(float(rng.uniform(0.0, _ACCEPTING_S)))
    life.kill()


def _committed(place: Stage, life: Life, job: str, rng: np.random.Generator, usual: Usual) -> None:
    nth = int(rng.integers(1, usual.steps + 1))
    _wait(lambda: place.steps(job) >= nth or place.has_ended(job))
    life.kill()


def _before_the_answer(
    place: Stage, life: Life, job: str, rng: np.random.Generator, usual: Usual
) -> None:
    with _at_move(place, life, int(rng.integers(1, usual.moves + 1)), has_gone=False):
        _wait(lambda: life.process.poll() is not None or place.has_ended(job))
    life.kill()


def _after_the_answer(
    place: Stage, life: Life, job: str, rng: np.random.Generator, usual: Usual
) -> None:
    with _at_move(place, life, int(rng.integers(1, usual.moves + 1)), has_gone=True):
        _wait(lambda: life.process.poll() is not None or place.has_ended(job))
    life.kill()


def _wait(is_so: Callable[[], bool]) -> None:
    """Until then; a job that comes to its end before is killed there."""
    end_s = time.perf_counter() + _MOST_S
    while not is_so() and time.perf_counter() < end_s:
        time.sleep(_LOOK_S)


MOMENTS: dict[str, Moment] = {
    "at random": _at_random,
    "a step was committed": _committed,
    "a move was sent": _before_the_answer,
    "a move was acknowledged": _after_the_answer,
    "being accepted": _being_accepted,
}
"""Each gets as many kills; what they hit is in the table."""


# One kill


def _kill(
    place: Stage,
    life: Life,
    job_id: str,
    moment: str,
    usual: Usual,
    rng: np.random.Generator,
) -> tuple[Life, Kill]:
    """The next life, and what was seen."""
    place.status(lambda status: status.microscope.connected and status.models)
    with Client(place.endpoint) as client:
        start_um = client.set_wd(_start_um(rng)).wd_um
    began_s = place.truth().commands[-1].time_s
    with asked(place.endpoint, job_id, usual.profile) as control:
        MOMENTS[moment](place, life, job_id, rng, usual)
        life.process.wait()
        was_accepted = bool(control.poll(0))
    time.sleep(_LOOK_S)  # what was on the wire arrives
    seen = _found(place, job_id, Kill(moment=moment, profile=usual.profile), began_s)
    if was_accepted and not seen.was_recorded:
        seen = replace(seen, lost_rows=1)
    rows = place.rows()
    again = place.start()
    return again, _after(place, job_id, again, rows, start_um, seen)


def _found(place: Stage, job_id: str, kill: Kill, began_s: float) -> Kill:
    """What the journal knows, and what the instrument does."""
    truth = place.truth()
    moves_um = [one.wd_um for one in truth.commands if one.time_s > began_s]
    with closing(Journal(place.journal, read_only=True)) as journal:
        record, steps = journal.find(job_id), journal.steps(job_id)
    known_um = [step.command.wd_um for step in steps if isinstance(step.command, MoveWd)]
    unknown = [um for um in moves_um if not any(abs(um - known) < 1.0 for known in known_um)]
    return replace(
        kill,
        steps=len(steps),
        was_recorded=record is not None,
        had_ended=record is not None and record.outcome is not None,
        was_away=bool(moves_um),
        unknown_moves=len(unknown),
    )


def _after(
    place: Stage,
    job_id: str,
    life: Life,
    rows: set[tuple[object, ...]],
    start_um: float,
    seen: Kill,
) -> Kill:
    """What the next life knows and does."""
    last_s = place.truth().commands[-1].time_s
    status = place.status(lambda status: status.microscope.connected)
    time.sleep(_QUIET_S)
    at_start = place.moves_um(last_s)
    lost = len(rows - place.rows())
    with Client(place.endpoint) as client:
        by_repeating = _repeated(client, place, job_id, seen.profile) if seen.was_recorded else 0
        is_named = _is_named(status, job_id, start_um, seen)
        if status.owed is not None:
            is_home = client.recover().restored and _is_at(place, start_um)
        else:
            is_home = seen.had_ended or _is_at(place, start_um)
    return replace(
        seen,
        ready_s=life.ready_s,
        lost_rows=seen.lost_rows + lost,
        moves_at_start=len(at_start),
        moves_by_repeating=by_repeating,
        is_named=is_named,
        is_home=is_home,
    )


def _repeated(client: Client, place: Stage, job_id: str, profile: str) -> int:
    """How many moves come of the same request again, and of one with its id and other params."""
    last_s = place.truth().commands[-1].time_s
    client.start(request_id=job_id, profile=profile)
    try:
        client.start(request_id=job_id, profile=profile, timeout_s=10.0)
    except RequestRefused as refused:
        if refused.kind != "id_reused":
            raise
    else:
        raise RuntimeError("an id was taken for another job")
    return len(place.moves_um(last_s))


def _is_named(status: s.Status, job_id: str, start_um: float, seen: Kill) -> bool:
    """Whether the status says what was interrupted, and where it began if it has moved."""
    if seen.had_ended or not seen.was_recorded:
        return status.interrupted is None
    owed = status.owed
    if owed is None:
        return status.interrupted == job_id and not seen.was_away
    is_start = owed.start_wd_um is not None and abs(owed.start_wd_um - start_um) <= _HOME_UM
    return status.interrupted == owed.job == job_id and is_start and "afctl recover" in owed.remedy


def _is_at(place: Stage, wd_um: float) -> bool:
    return abs(place.truth().lens_wd_um - wd_um) <= _HOME_UM


# What is told


def _bars(kills: list[Kill]) -> list[Bar]:
    ready_s = float(np.percentile([one.ready_s for one in kills], 99.0))
    interrupted = [one for one in kills if one.was_recorded and not one.had_ended]
    return [
        at_most("ready again, 99 of 100 within s", ready_s, MOST_READY_S),
        _none("moves that the journal did not know of", [one.unknown_moves for one in kills]),
        _none("moves at start before anybody asked", [one.moves_at_start for one in kills]),
        _none("moves by a repeated id", [one.moves_by_repeating for one in kills]),
        _none("committed rows lost", [one.lost_rows for one in kills]),
        _all("the status names the interrupted job and its start", interrupted, "is_named"),
        _all("brought back by `afctl recover`, or never away", kills, "is_home"),
    ]


def _none(name: str, counts: list[int]) -> Bar:
    return Bar(f"{name}: 0", sum(counts) == 0, f"{sum(counts)} in {len(counts)} kills")


def _all(name: str, kills: list[Kill], held: str) -> Bar:
    holding = sum(bool(getattr(one, held)) for one in kills)
    return Bar(name, holding == len(kills), f"{holding} of {len(kills)}")


def _table(kills: list[Kill]) -> str:
    lines = [
        f"{'killed when':<26}{'kills':>6}{'recorded':>10}{'ended':>7}{'away':>6}{'named':>7}{'home':>6}"
        f"{'steps':>7}{'ready 50%':>11}{'99%, s':>8}"
    ]
    for moment in dict.fromkeys(one.moment for one in kills):
        of = [one for one in kills if one.moment == moment]
        ready = np.percentile([one.ready_s for one in of], (50.0, 99.0))
        counts = (
            sum(getattr(one, name) for one in of)
            for name in ("was_recorded", "had_ended", "was_away", "is_named", "is_home")
        )
        recorded, ended, away, named, home = counts
        steps = median(one.steps for one in of)
        lines.append(
            f"{moment:<26}{len(of):>6}{recorded:>10}{ended:>7}{away:>6}{named:>7}{home:>6}"
            f"{steps:>7.0f}{ready[0]:>11.2f}{ready[1]:>8.2f}"
        )
    return "\n".join(
        [
            *lines,
            "recorded: the job was in the journal; ended: also its end; away: it had moved the lens",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
