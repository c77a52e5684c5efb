"""The import contracts bite: each is broken once, in a copy, and each says so."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

PLANTED = {
    "control/evidence.py": "import socket",
    "control/published/search.py": "import afdaemon.job.loop",
    "drivers/reconnect.py": "import afdaemon.sim.optics",
    "models/acnet/state.py": "import afdaemon.errors",
    "sim/optics.py": "import afdaemon.models.acnet.state",
    "service/backend.py": "import afdaemon.sim.instrument.world",
    "service/scoring.py": "import afdaemon.service.jobs",
    "models/frames/doubt.py": "import afdaemon.models.scorers.zoo",
    "sim/imaging/scan.py": "import afdaemon.sim.links.usb",
    "api/schemas.py": "import numpy",
    "energy/physics/bulk.py": "import afdaemon.energy.table",
    "energy/physics/noise.py": "import time",
    "homeless.py": "",
}


def contracts(tree: Path) -> dict[str, str]:
    """KEPT or BROKEN for each contract, by its name."""
    result = subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tree)},
    )
    verdicts = {}
    for line in result.stdout.splitlines():
        name, _, verdict = line.partition(" (")[0].rpartition(" ")
        if verdict in ("KEPT", "BROKEN"):
            verdicts[name] = verdict
    assert (result.returncode == 0) is ("BROKEN" not in verdicts.values()), result.stdout
    return verdicts


def test_every_contract_breaks_when_it_is_violated(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "afdaemon", tmp_path / "afdaemon")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    before = contracts(tmp_path)
    assert len(before) == 11
    assert set(before.values()) == {"KEPT"}
    for name, line in PLANTED.items():
        with (tmp_path / "afdaemon" / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    assert contracts(tmp_path) == dict.fromkeys(before, "BROKEN")
