"""First light: does autofocus find the focus everywhere it should, and never make things worse?

Presses autofocus through ZeroMQ on a daemon that talks to a simulated EM-30 over its own wire, as `afdaemon demo` does.
Rows: each trained specimen at its magnifications, ten seeds each, starts up to the smaller of 3 A_max and 40 depths of
focus to either side; and, where a folder of micrographs is given, each of them once at 1000x.

    python benchmarks/first_light.py [--quick] [--seed N] [--json FILE] [--micrographs DIR]
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from reporting import conclude, parse

from afdaemon.api.client import Client
from afdaemon.demo.processes import open_stage
from afdaemon.demo.run import DemoRun, show
from afdaemon.demo.scene import Scene, set_scene
from afdaemon.evaluate.section import Bar
from afdaemon.sim.datasets.frames import find_micrographs

ROWS = (
    ("tin_balls", 500),
    ("tin_balls", 2_000),
    ("tin_balls", 5_000),
    ("tem_grid", 500),
    ("tem_grid", 2_000),
    ("tem_grid", 5_000),
    ("gold_nanoparticles", 10_000),
    ("gold_nanoparticles", 20_000),
)
SEEDS = 10
MICROGRAPHS_AT = 1_000
SPEED = 10.0
GOOD_DOF = 1.5
FALSE_DOF = 3.0
WORSE_DOF = 0.5
"""A run ends worse if it ends further from focus than it began by more than this."""


def good(run: DemoRun) -> bool:
    """Converged, and in truth within 1.5 depths of focus."""
    return run.converged and run.error_dof is not None and run.error_dof <= GOOD_DOF


def worse(run: DemoRun) -> bool:
    """Left further from focus than it began."""
    return run.final_error_um > run.start_error_um + WORSE_DOF * run.dof_um


def false_success(run: DemoRun) -> bool:
    """Claims focus although it is far from it."""
    return run.converged and (run.error_dof is None or run.error_dof > FALSE_DOF)


def play(scenes: Sequence[Scene]) -> Iterator[DemoRun]:
    """Press autofocus on each scene in turn; one daemon for all."""
    with open_stage(speed=SPEED) as stage, stage.daemon(), Client(stage.endpoint) as client:
        for scene in scenes:
            run = show(stage, client, scene).run
            print("." if good(run) else "x", end="", file=sys.stderr, flush=True)
            yield run
    print(file=sys.stderr)


def table(runs: Sequence[DemoRun]) -> str:
    """One line per specimen and magnification."""
    lines = [
        f"{'specimen':<22}{'mag':>7}{'runs':>6}{'good':>6}{'median':>8}{'worst':>8}{'score':>7}"
        f"{'search':>8}{'servo':>7}{'worse':>7}"
    ]
    for key in dict.fromkeys((_kind(run), run.magnification) for run in runs):
        group = [run for run in runs if (_kind(run), run.magnification) == key]
        errors = sorted(run.final_error_um / run.dof_um for run in group)
        scores = [run.score for run in group if run.score is not None]
        lines.append(
            f"{key[0]:<22}{key[1]:>7}{len(group):>6}{sum(map(good, group)):>6}"
            f"{errors[len(errors) // 2]:>8.2f}{errors[-1]:>8.2f}{mean(scores or [0.0]):>7.2f}"
            f"{mean(r.readings['search'] for r in group):>8.1f}"
            f"{mean(r.readings['servo'] for r in group):>7.1f}{sum(map(worse, group)):>7}"
        )
    lines.append("median, worst: distance from the true focus at the end, in depths of focus")
    return "\n".join(lines)


def _kind(run: DemoRun) -> str:
    return "micrographs" if run.specimen.startswith("image:") else run.specimen


def bars(runs: Sequence[DemoRun]) -> list[Bar]:
    """What must hold."""
    drawn = [run for run in runs if _kind(run) != "micrographs"]
    real = [run for run in runs if _kind(run) == "micrographs"]
    found = []
    if drawn:
        share = mean(map(good, drawn))
        count = sum(map(worse, drawn))
        found += [
            Bar("drawn: >= 90 % within 1.5 DoF", share >= 0.9, f"{100 * share:.1f} %"),
            Bar("drawn: none ends worse than it began", count == 0, f"{count}"),
        ]
    if real:
        share, wrong = mean(map(good, real)), sum(map(false_success, real))
        lost = [run for run in real if not run.converged]
        kept = all(run.restored and run.reason for run in lost)
        found += [
            Bar(
                "micrographs: >= 22 of 29 within 1.5 DoF", share >= 22 / 29, f"{100 * share:.1f} %"
            ),
            Bar("micrographs: no success claimed over 3 DoF off", wrong == 0, f"{wrong}"),
            Bar("micrographs: the others restored, with a reason", kept, f"{len(lost)} others"),
        ]
    return found


def scenes_of(arguments: argparse.Namespace) -> list[Scene]:
    """All scenes that the arguments ask for."""
    seeds = range(arguments.seed, arguments.seed + (1 if arguments.quick else SEEDS))
    scenes = [set_scene(name, magnification=mag, seed=s) for name, mag in ROWS for s in seeds]
    if arguments.micrographs and not arguments.quick:
        scenes += [
            set_scene(f"image:{path}", magnification=MICROGRAPHS_AT, seed=arguments.seed)
            for path in find_micrographs(arguments.micrographs)
        ]
    return scenes


def _published(run: DemoRun) -> dict[str, object]:
    return {**run.as_json(), "specimen": Path(run.specimen).name}


def main() -> int:
    arguments = parse(__doc__, quick="one seed a row, no micrographs")
    runs = list(play(scenes_of(arguments)))
    text, held = table(runs), bars(runs)
    return conclude(
        arguments, "benchmarks/first_light.py", text, held, [_published(run) for run in runs]
    )


if __name__ == "__main__":
    sys.exit(main())
