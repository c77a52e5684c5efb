"""Does the simulated EM-30 obey physics? Each figure is measured in its frames or over its wires against theory.

python benchmarks/sim_physics.py [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import sys
import time

import sim_physics_bridge
import sim_physics_column
import sim_physics_focus
import sim_physics_mtf
import sim_physics_noise
import sim_physics_speed
import sim_physics_wires
from reporting import conclude, parse

from afdaemon.evaluate.section import Bar

SECTIONS = (
    sim_physics_speed,
    sim_physics_mtf,
    sim_physics_focus,
    sim_physics_noise,
    sim_physics_column,
    sim_physics_wires,
    sim_physics_bridge,
)


def main() -> int:
    arguments = parse(__doc__, quick="fewer rounds and repetitions in each section")
    lines: list[str] = []
    bars = list[Bar]()
    rows: list[dict[str, object]] = []
    for section in SECTIONS:
        began_s = time.perf_counter()
        found = section.measure(arguments.seed, arguments.quick)
        print("\n".join([*found[0], ""]), file=sys.stderr, flush=True)
        print(f"({section.__name__}: {time.perf_counter() - began_s:.1f} s)\n", file=sys.stderr)
        lines += [*found[0], ""]
        bars += found[1]
        rows += found[2]
    return conclude(arguments, "benchmarks/sim_physics.py", "\n".join(lines).rstrip(), bars, rows)


if __name__ == "__main__":
    sys.exit(main())
