"""A job's progress for a person: one live line on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as LiveProgress

from afdaemon.api.lines import OnEvent
from afdaemon.api.schemas import Event, Job, Progress
from afdaemon.models.optics import TOP_SCORE
from afdaemon.words import ending


@contextmanager
def progress_shown(console: Console) -> Iterator[OnEvent]:
    """A function to call with each event while the job runs."""
    if not console.is_terminal:
        yield lambda event: _print_line(console, event)
        return
    with LiveProgress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as live:
        task = live.add_task("waiting for the first reading", total=TOP_SCORE)

        def show(event: Event) -> None:
            if event.type == "progress":
                now = Progress.model_validate(event.data)
                live.update(task, completed=now.best_score or 0.0, description=line_of(now))

        yield show


def line_of(now: Progress) -> str:
    """`servo    reading 3  WD 12345.0 um  score 5.12  best 6.00 at 12300.0 um`."""
    of = f"/{now.readings_max}" if now.readings_max is not None else ""
    parts = [f"{now.kind or now.phase:<8} reading {now.reading}{of}"]
    if now.wd_um is not None:
        parts.append(f"WD {now.wd_um:.1f} um")
    if now.score is not None:
        parts.append(f"score {now.score:.2f}")
    if now.best_score is not None and now.best_wd_um is not None:
        parts.append(f"best {now.best_score:.2f} at {now.best_wd_um:.1f} um")
    return "  ".join(parts)


def outcome_of(job: Job) -> str:
    """How a job ended, as a sentence."""
    readings = job.readings.search + job.readings.servo + job.readings.verify
    effort = f"{readings} reading{'' if readings == 1 else 's'} in {job.seconds:.1f} s"
    if job.converged:
        at = "" if job.best_wd_um is None else f" at WD {job.best_wd_um:.1f} um"
        score = "" if job.score is None else f", score {job.score:.2f}"
        why = f" ({job.detail})" if job.detail else ""
        return f"focused{at}{score}{why}, {effort}"
    how = ending(job.reason or job.state.value, job.detail)
    if job.moves == 0:
        return f"not focused, {how}. Nothing moved."
    return f"not focused, {how}{_left_at(job)}, {effort}"


def _left_at(job: Job) -> str:
    if job.restored:
        return " (the start WD is restored)"
    if job.wd_um is None:
        return "" if job.start_wd_um is None else " (where the lens stands is not known)"
    scale = f", {job.magnification:g}x" if job.magnification != job.start_magnification else ""
    return f" (left at WD {job.wd_um:.1f} um{scale})"


def _print_line(console: Console, event: Event) -> None:
    if event.type == "progress":
        line = line_of(Progress.model_validate(event.data))
        console.print(line, highlight=False, markup=False, soft_wrap=True)
