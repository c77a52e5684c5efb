"""The table of backscatter coefficients: how it is computed, written and read.

python -m afdaemon.energy.table --out FILE        computes gold and aluminium on silicon, as the shipped one was

The Monte Carlo counts at some nodes, `smoothing` makes a smooth table of them. A card beside it says how it was made.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from afdaemon.energy.physics.montecarlo import backscattered
from afdaemon.energy.physics.scattering import ELASTIC, Floats
from afdaemon.energy.physics.tabulated import TablePhysics
from afdaemon.energy.smoothing import Nodes, smoothed
from afdaemon.energy.specimens.errors import TableError
from afdaemon.energy.specimens.materials import MATERIALS
from afdaemon.energy.specimens.stacks import AU_AL_SI, Layer, Stack

SHIPPED = Path(__file__).with_name("au_al_si.safetensors")
_FORMAT = 1
_NODES_KEV = np.geomspace(1.0, 20.0, 13)
_LOWEST_NODES = np.array([0, 0.5, 1, 2, 3, 4.5, 6, 8, 10, 12.5, 15]) / 15.0
_UPPER_NODES = np.array([0, 2, 4, 8, 14, 20, 30, 45, 65, 90, 120, 150]) / 150.0
"""Thicknesses that are computed, as shares of the greatest: close where thin, since slow electrons see no more."""
_GRID_KEV = np.geomspace(1.0, 20.0, 24)
_LOWEST_GRID = np.array([0, 0.5, 1, 1.5, 2, *range(3, 16)]) / 15.0
_UPPER_GRID = (
    np.array([*range(0, 8, 1), *range(8, 20, 2), *range(20, 50, 5), *range(50, 151, 10)]) / 150.0
)
_FAST_KEV, _FEWER = 4.0, 0.625
"""Above this energy, fewer electrons: they go on for longer, and tell less of thin layers."""
_ELECTRONS = 8_000
_BARE = 25
"""The bare substrate divides everything: it gets so many times the electrons more."""
_NODE_SEED, _BARE_SEED = 1000, 2000


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a table is computed from: the stack, which elastic scattering, electrons of a node, a seed."""

    stack: Stack = AU_AL_SI
    elastic: str = "browning"
    electrons: int = _ELECTRONS
    seed: int = 0


def _grid(stack: Stack, lowest: Floats, upper: Floats) -> tuple[Floats, ...]:
    """Thicknesses (nm) of each layer."""
    shares = [lowest, *[upper] * (len(stack.layers) - 1)]
    return tuple(share * layer.max_nm for share, layer in zip(shares, stack.layers, strict=True))


def _points(axes: Sequence[Floats]) -> Floats:
    """All combinations (axes, points)."""
    return np.stack([part.ravel() for part in np.meshgrid(*axes, indexing="ij")])


def counted(recipe: Recipe) -> Iterator[Nodes]:
    """The nodes of one energy after the other."""
    nm = _points(_grid(recipe.stack, _LOWEST_NODES, _UPPER_NODES))
    elastic, bare_nm = ELASTIC[recipe.elastic], np.zeros((len(nm), 1))
    for index, kev in enumerate(_NODES_KEV):
        count = round(recipe.electrons * (_FEWER if kev > _FAST_KEV else 1.0))
        eta = backscattered(
            recipe.stack,
            nm,
            np.full(nm.shape[1], kev),
            electrons=count,
            seed=recipe.seed + _NODE_SEED + index,
            elastic=elastic,
        )
        bare = backscattered(
            recipe.stack,
            bare_nm,
            np.array([kev]),
            electrons=_BARE * count,
            seed=recipe.seed + _BARE_SEED + index,
            elastic=elastic,
        )
        yield _with_bare(kev, nm, eta, float(bare[0]), count)


def _with_bare(kev: float, nm: Floats, eta: Floats, bare: float, count: int) -> Nodes:
    """The nodes of an energy; its first, the bare substrate, was counted twice."""
    electrons = np.full(len(eta), float(count))
    electrons[0] *= 1 + _BARE
    eta = np.concatenate([[(eta[0] + _BARE * bare) / (1 + _BARE)], eta[1:]])
    return Nodes(np.full(len(eta), kev), nm, eta, electrons)


def write(recipe: Recipe, counts: Sequence[Nodes], path: Path) -> None:
    """Smooth the counts and write the table, and its card beside it."""
    nodes = Nodes(
        np.concatenate([n.energy_kev for n in counts]),
        np.concatenate([n.thickness_nm for n in counts], axis=1),
        np.concatenate([n.eta for n in counts]),
        np.concatenate([n.electrons for n in counts]),
    )
    axes = _grid(recipe.stack, _LOWEST_GRID, _UPPER_GRID)
    energy_kev, *nm = _points([_GRID_KEV, *axes])
    smooth = smoothed(nodes, recipe.stack, energy_kev, np.stack(nm))
    eta = smooth.eta.reshape(len(_GRID_KEV), *[len(axis) for axis in axes])
    arrays = {f"layer_{k}_nm": axis for k, axis in enumerate(axes)}
    save_file({"energy_kev": _GRID_KEV, **arrays, "eta": eta.astype(np.float32)}, path)
    card = _card(recipe) | {
        "stiffness": smooth.stiffness,
        "chi_square_held_back": round(smooth.chi_square, 3),
    }
    _card_path(path).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _card_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _card(recipe: Recipe) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "layers": {layer.material.name: layer.max_nm for layer in recipe.stack.layers},
        "substrate": recipe.stack.substrate.name,
        "elastic": recipe.elastic,
        "electrons": recipe.electrons,
        "seed": recipe.seed,
    }


def load(path: Path = SHIPPED) -> TablePhysics:
    """The physics of a table. Raises `TableError` where it or its card is missing, damaged or of another format."""
    try:
        card = json.loads(_card_path(path).read_text(encoding="utf-8"))
        if card["format"] != _FORMAT:
            raise TableError(f"{path} is a table of format {card['format']}, not {_FORMAT}")
        layers = tuple(Layer(MATERIALS[name], float(nm)) for name, nm in card["layers"].items())
        arrays = load_file(path)
        axes = tuple(arrays[f"layer_{k}_nm"] for k in range(len(layers)))
        energy_kev, eta = arrays["energy_kev"], arrays["eta"].astype(np.float64)
        stack = Stack(layers, MATERIALS[card["substrate"]])
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TableError(f"the table {path} cannot be used: {error}") from error
    if eta.shape != (len(energy_kev), *map(len, axes)) or not np.isfinite(eta).all():
        raise TableError(f"the table {path} does not hold a coefficient for each of its nodes")
    return TablePhysics(stack, energy_kev, axes, eta)


@cache
def monte_carlo() -> TablePhysics:
    """The shipped table: gold under aluminium on silicon, 1 to 20 keV."""
    return load()


def _stack_of(layers: str, substrate: str) -> Stack:
    """A stack from words such as `Au:15,Al:150`, the lowest first."""
    parts = [part.partition(":") for part in layers.split(",")]
    return Stack(
        tuple(Layer(MATERIALS[name], float(nm)) for name, _, nm in parts), MATERIALS[substrate]
    )


def _recipe() -> tuple[Recipe, Path]:
    parser = argparse.ArgumentParser(description="Compute a table of backscatter coefficients.")
    parser.add_argument("--out", type=Path, required=True, help="file.safetensors to write")
    parser.add_argument(
        "--layers", default="Au:15,Al:150", help="NAME:GREATEST_NM,..., the lowest first"
    )
    parser.add_argument("--substrate", default="Si", choices=MATERIALS)
    parser.add_argument("--elastic", default="browning", choices=ELASTIC)
    parser.add_argument("--electrons", type=int, default=_ELECTRONS, help="of each node")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        stack = _stack_of(given.layers, given.substrate)
    except (LookupError, ValueError):
        known = ", ".join(MATERIALS)
        parser.error(f"--layers {given.layers}: NAME:NM with names out of {known} is wanted")
    return Recipe(stack, given.elastic, given.electrons, given.seed), given.out


def main() -> int:
    """Compute a table and say how far it is."""
    recipe, path = _recipe()
    torch.set_num_threads(1)  # small arrays: more threads wait for each other
    counts = []
    for nodes in counted(recipe):
        counts.append(nodes)
        sys.stdout.write(f"{nodes.energy_kev[0]:.2f} keV counted\n")
        sys.stdout.flush()
    write(recipe, counts, path)
    sys.stdout.write(f"wrote {path} and {_card_path(path)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
