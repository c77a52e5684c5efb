"""Fuzz for as long as one likes; see `targets.py`.

    python -m tests.fuzz --minutes 10 --target jpeg
    python -m tests.fuzz --minutes 1                    every target, one after the other

With atheris installed (`pip install atheris`) inputs that reach new code are kept and built upon; without it, known
inputs are damaged at random. A finding is written to a file, its traceback is printed, and the exit code is 1.
"""

import argparse
import hashlib
import multiprocessing
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tests.fuzz.guided import SLOWEST_S, run


def main() -> int:
    """Fuzz; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--target", action="append", default=[], help="may be repeated; else all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"), help="written here")
    given = parser.parse_args()
    from tests.fuzz.targets import TARGETS

    names = given.target or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    given.findings.mkdir(parents=True, exist_ok=True)
    fuzz = _guided if find_spec("atheris") else _blind
    failed = [name for name in names if not fuzz(name, given)]
    sys.stdout.write(f"findings in: {', '.join(failed) or 'none'}\n")
    return 1 if failed else 0


def _blind(name: str, given: argparse.Namespace) -> bool:
    """Whether no damaged input was a finding."""
    from tests.fuzz.mutations import mutated
    from tests.fuzz.targets import CORPUS, TARGETS

    target = TARGETS[name]
    kept = tuple(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))
    rng = np.random.default_rng(given.seed)
    until_s, count = time.monotonic() + 60.0 * given.minutes, 0
    for data in mutated(target.seeds + kept, target.words, rng):
        began_s = time.monotonic()
        if began_s >= until_s:
            break
        count += 1
        try:
            target.take(data)
            took_s = time.monotonic() - began_s
            assert took_s < SLOWEST_S, f"it took {took_s:.1f} s"
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            path = given.findings / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            sys.stdout.write(f"{name}: finding after {count} inputs, kept in {path}\n")
            traceback.print_exc()
            return False
    sys.stdout.write(f"{name}: {count} damaged inputs, no finding\n")
    return True


def _guided(name: str, given: argparse.Namespace) -> bool:
    """The same with atheris, in a process of its own: it ends that when it is done."""
    child = multiprocessing.get_context("spawn").Process(target=run, args=(name, given))
    child.start()
    child.join()
    return child.exitcode == 0


if __name__ == "__main__":
    sys.exit(main())
