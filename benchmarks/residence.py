"""Residence: how soon is the daemon ready, how much memory does it keep, and does it grow over many jobs?

The daemon and a simulated EM-30 run as processes of their own.

    python benchmarks/residence.py [--quick] [--seed N] [--json FILE]
"""

import sys
from statistics import median

import numpy as np
from reporting import conclude, parse
from service_stage import focus_from_elsewhere, service

from afdaemon.api.client import Client
from afdaemon.evaluate.section import Bar

READY_S, RESIDENT_MB, GROWTH = 6.0, 800.0, 0.01
STARTS, QUICK_STARTS = 5, 2
JOBS, QUICK_JOBS = 1_000, 30
WARM_UP_SHARE = 0.1
"""Jobs after which growth is counted: allocators fill their pools first."""


def main() -> int:
    arguments = parse(__doc__ or "", quick="2 starts, 30 jobs")
    starts, jobs = (QUICK_STARTS, QUICK_JOBS) if arguments.quick else (STARTS, JOBS)
    ready_s = []
    for _ in range(starts):
        with service(speed=50.0, seed=arguments.seed, profile="fast") as daemon:
            ready_s.append(daemon.ready_s)
    resident_mb = _over_jobs(jobs, arguments.seed)
    warm = max(1, round(WARM_UP_SHARE * jobs))
    tenth = max(1, jobs // 10)
    before, after = median(resident_mb[warm : warm + tenth]), median(resident_mb[-tenth:])
    growth = after / before - 1.0
    lines = [
        f"start to ready        {starts:>5} starts  median {median(ready_s):.2f} s  most {max(ready_s):.2f} s",
        f"resident after 1 job              {resident_mb[0]:.1f} MB",
        f"resident after {warm:<5} jobs         {before:.1f} MB",
        f"resident after {jobs:<5} jobs         {after:.1f} MB",
    ]
    held = [
        Bar(f"start to ready <= {READY_S:g} s", median(ready_s) <= READY_S, f"{median(ready_s):.2f}"),
        Bar(f"resident memory <= {RESIDENT_MB:g} MB", max(resident_mb) <= RESIDENT_MB, f"{max(resident_mb):.0f}"),
        Bar(f"growth from job {warm} to {jobs} < {GROWTH:.0%}", growth < GROWTH, f"{100 * growth:+.2f} %"),
    ]  # fmt: skip
    text = "\n".join(lines)
    rows = [{"ready_s": ready_s, "resident_mb": resident_mb}]
    return conclude(arguments, "benchmarks/residence.py", text, held, rows)


def _over_jobs(jobs: int, seed: int) -> list[float]:
    """Resident memory after each job."""
    rng = np.random.default_rng(seed)
    found = []
    with (
        service(speed=50.0, seed=seed, profile="fast") as daemon,
        Client(daemon.endpoint) as client,
    ):
        for _ in range(jobs):
            daemon.witness.forget()
            focus_from_elsewhere(client, rng)
            found.append(daemon.resident_mb())
    return found


if __name__ == "__main__":
    sys.exit(main())
