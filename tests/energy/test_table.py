"""The table's file: small, read as it was written, refused where it is damaged."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from afdaemon.energy.physics.scattering import ELASTIC
from afdaemon.energy.smoothing import Nodes, smoothed
from afdaemon.energy.specimens.errors import TableError
from afdaemon.energy.specimens.materials import COPPER, SILICON
from afdaemon.energy.specimens.stacks import AU_AL_SI, Layer, Stack
from afdaemon.energy.table import SHIPPED, Recipe, load, write


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for path in (SHIPPED, SHIPPED.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    return tmp_path / SHIPPED.name


def counts(stack: Stack) -> list[Nodes]:
    """What a Monte Carlo of no noise would count for a brightness that falls with energy and rises with thickness."""
    kev, nm = (part.ravel() for part in np.meshgrid(np.geomspace(1, 20, 8), np.linspace(0, 30, 12)))
    eta = 0.2 * kev**-0.1 + 0.1 * (1.0 - np.exp(-nm / (10.0 * kev)))
    return [Nodes(kev, nm[None], eta, np.full(len(kev), 1e4))]


def test_the_shipped_table_is_small_and_says_how_it_was_made() -> None:
    assert SHIPPED.stat().st_size < 100_000
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert card["layers"] == {"Au": 15.0, "Al": 150.0}
    assert card["elastic"] in ELASTIC
    assert load().stack == AU_AL_SI


def test_what_is_written_is_read(tmp_path: Path) -> None:
    stack = Stack((Layer(COPPER, 30.0),), SILICON)
    path = tmp_path / "cu.safetensors"
    write(Recipe(stack), counts(stack), path)
    table = load(path)
    assert table.stack == stack
    thick = table.signal(np.array([[0.0, 30.0]]), np.array([2.0]))[0]
    wanted = 1.0 + 0.1 * (1.0 - np.exp(-1.5)) / (0.2 * 2.0**-0.1)
    assert thick == pytest.approx([1.0, wanted], rel=0.03)


def test_smoothing_takes_noise_away() -> None:
    stack = Stack((Layer(COPPER, 30.0),), SILICON)
    (clean,) = counts(stack)
    rng = np.random.default_rng(0)
    noise = np.sqrt(clean.variance) * rng.standard_normal(len(clean.eta))
    noisy = Nodes(clean.energy_kev, clean.thickness_nm, clean.eta + noise, clean.electrons)
    smooth = smoothed(noisy, stack, clean.energy_kev, clean.thickness_nm)
    assert (smooth.eta - clean.eta).std() < 0.7 * noise.std()


@pytest.mark.parametrize("harm", ["gone", "no card", "cut", "card cut", "other format", "strange"])
def test_what_cannot_be_used_is_refused(harm: str, copy: Path) -> None:
    card = copy.with_suffix(".json")
    content = json.loads(card.read_text())
    match harm:
        case "gone":
            copy.unlink()
        case "no card":
            card.unlink()
        case "cut":
            copy.write_bytes(copy.read_bytes()[:-100])
        case "card cut":
            card.write_text(card.read_text()[:-5])
        case "other format":
            card.write_text(json.dumps(content | {"format": 99}))
        case _:
            card.write_text(json.dumps(content | {"layers": {"Xx": 15.0}}))
    with pytest.raises(TableError) as caught:
        load(copy)
    assert copy.name in str(caught.value)
    assert "afdaemon.energy.table" in caught.value.remedy


def test_the_command_computes_a_table(tmp_path: Path) -> None:
    path = tmp_path / "cu.safetensors"
    command = [sys.executable, "-m", "afdaemon.energy.table", "--out", str(path)]
    options = ["--layers", "Cu:30", "--electrons", "40"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout
    bare, thick = load(path).signal(np.array([[0.0, 30.0]]), np.array([2.0]))[0]
    assert (bare, thick) == (pytest.approx(1.0), pytest.approx(1.45, abs=0.4))


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "afdaemon.energy.table", "--out", str(tmp_path / "x")]
    done = subprocess.run(
        [*command, "--layers", "Unobtainium:5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Unobtainium" in done.stderr
