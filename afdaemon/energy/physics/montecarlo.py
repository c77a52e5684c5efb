"""Which share of the electrons comes back: a single-scattering Monte Carlo of a stack of layers.

Layers are flat and wide, so depth, direction and energy are all that an electron needs; where it leaves sideways is not
followed. It goes from one elastic collision to the next, losing energy all along. At an interface it stops and draws
its next way anew, which is exact, since ways are exponential. It counts as backscattered when it leaves the surface
with more than `CUT_KEV`, and is given up when it can no longer reach the surface.

All electrons of all stacks and energies that are asked for go side by side through the same operations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from afdaemon.energy.physics.scattering import (
    CUT_KEV,
    Elastic,
    Floats,
    browning,
    loss_kev_per_nm,
    range_nm,
)
from afdaemon.energy.specimens.materials import Material
from afdaemon.energy.specimens.stacks import Stack

_SIDE_BY_SIDE = 32_768
"""Electrons that fit into a core's cache together."""
_BINS = 2_048
_TOP_KEV = 60.0
_LOG_CUT = float(np.log(CUT_KEV))
_BINS_PER_LOG = _BINS / (float(np.log(_TOP_KEV)) - _LOG_CUT)
_RANGES = 3.0
"""Ranges below the surface where an electron is given up. One range would lose an eighth of what bulk gold sends back
at 1 keV, where the formula for the range is too short."""
_NUDGE_NM = 1e-3
"""How far past an interface an electron goes on, so that it is in the next layer despite rounding."""


@dataclass(slots=True)
class _Electrons:
    """One row an electron: depth (nm), cosine of the direction to the depth, energy (keV), interfaces (nm), owner."""

    depth_nm: torch.Tensor
    cosine: torch.Tensor
    energy_kev: torch.Tensor
    interfaces_nm: torch.Tensor
    node: torch.Tensor

    def keep(self, which: torch.Tensor) -> None:
        self.depth_nm, self.cosine = self.depth_nm[which], self.cosine[which]
        self.energy_kev, self.node = self.energy_kev[which], self.node[which]
        self.interfaces_nm = self.interfaces_nm[:, which]


def backscattered(
    stack: Stack,
    thickness_nm: Floats,
    energy_kev: Floats,
    *,
    electrons: int,
    seed: int,
    elastic: Elastic = browning,
) -> Floats:
    """Backscatter coefficients (nodes,) of `thickness_nm` (layers, nodes) at `energy_kev` (nodes,).

    Each is the share of `electrons` electrons that came back; its standard deviation is that of a binomial.
    """
    materials = (*reversed(stack.materials[:-1]), stack.substrate)
    rates, depths = _rates(materials, elastic), _depth_limits(materials)
    interfaces = torch.tensor(np.cumsum(thickness_nm[::-1], axis=0), dtype=torch.float32)
    random = torch.Generator().manual_seed(seed)
    back = torch.zeros(len(energy_kev), dtype=torch.int64)
    for node in _batches(len(energy_kev), electrons):
        beam = _Electrons(
            depth_nm=torch.full(node.shape, 1e-6),
            cosine=torch.ones(node.shape),
            energy_kev=torch.tensor(energy_kev, dtype=torch.float32)[node],
            interfaces_nm=interfaces[:, node],
            node=node,
        )
        while len(beam.node):
            back += _step(beam, rates, depths, random, len(back))
    return back.numpy() / float(electrons)


def _batches(nodes: int, electrons: int) -> Iterator[torch.Tensor]:
    """The node of each electron, a batch at a time."""
    for first in range(0, nodes * electrons, _SIDE_BY_SIDE):
        last = min(first + _SIDE_BY_SIDE, nodes * electrons)
        yield torch.arange(first, last) // electrons


def _bin_of(energy_kev: torch.Tensor) -> torch.Tensor:
    return ((energy_kev.log() - _LOG_CUT) * _BINS_PER_LOG).long().clamp(0, _BINS - 1)


def _bin_energies() -> Floats:
    return np.asarray(np.exp(_LOG_CUT + (np.arange(_BINS) + 0.5) / _BINS_PER_LOG), np.float64)


def _rates(materials: Sequence[Material], elastic: Elastic) -> torch.Tensor:
    """(materials x bins, 4): mean free path, loss, screening, isotropic share; the topmost material first."""
    energy_kev, rows = _bin_energies(), []
    for material in materials:
        at = elastic(material, energy_kev)
        loss = loss_kev_per_nm(material, energy_kev)
        rows.append(np.stack([at.path_nm, loss, at.screening, at.isotropic], axis=1))
    return torch.tensor(np.concatenate(rows), dtype=torch.float32)


def _depth_limits(materials: Sequence[Material]) -> torch.Tensor:
    """(bins,): the depth (nm) from which hardly an electron comes back, whichever material it is in."""
    energy_kev = _bin_energies()
    furthest = np.max([range_nm(material, energy_kev) for material in materials], axis=0)
    return torch.tensor(_RANGES * furthest, dtype=torch.float32)


def _step(
    beam: _Electrons,
    rates: torch.Tensor,
    depths: torch.Tensor,
    random: torch.Generator,
    nodes: int,
) -> torch.Tensor:
    """Move every electron to its next collision or interface; how many came back, by node."""
    layer = (beam.depth_nm >= beam.interfaces_nm).sum(0)
    bins = _bin_of(beam.energy_kev)
    path_nm, loss, screening, isotropic = rates[layer * _BINS + bins].unbind(1)
    draw = torch.rand(4, len(layer), generator=random)
    way_nm = -path_nm * (1.0 - draw[0]).log()
    edge_nm = _interface_ahead(beam, layer)
    to_edge = ((edge_nm - beam.depth_nm) / beam.cosine).abs()
    collides = way_nm < to_edge
    past_edge = edge_nm + _NUDGE_NM * beam.cosine.sign()
    beam.depth_nm = torch.where(collides, beam.depth_nm + way_nm * beam.cosine, past_edge)
    beam.energy_kev -= torch.minimum(way_nm, to_edge) * loss
    turned = _turned(beam.cosine, screening, isotropic, draw)
    beam.cosine = torch.where(collides, turned, beam.cosine)
    is_fast = beam.energy_kev > CUT_KEV
    is_out = beam.depth_nm < 0.0
    back = torch.bincount(beam.node[is_out & is_fast], minlength=nodes)
    reaches = beam.depth_nm < depths[_bin_of(beam.energy_kev.clamp(min=CUT_KEV))]
    beam.keep((is_fast & ~is_out & reaches).nonzero().squeeze(1))
    return back


def _interface_ahead(beam: _Electrons, layer: torch.Tensor) -> torch.Tensor:
    """Depth (nm) where an electron leaves its layer; the surface is no interface, nor is the end of the substrate."""
    far = torch.full((1, len(layer)), torch.inf)
    bounds = torch.cat([-far, beam.interfaces_nm, far])
    ahead = torch.where(beam.cosine > 0.0, layer + 1, layer)
    return bounds.gather(0, ahead.unsqueeze(0)).squeeze(0)


def _turned(
    cosine: torch.Tensor, screening: torch.Tensor, isotropic: torch.Tensor, draw: torch.Tensor
) -> torch.Tensor:
    """Direction after a collision: scattered by a drawn angle, around by a drawn azimuth."""
    screened = 1.0 - 2.0 * screening * draw[1] / (1.0 + screening - draw[1])
    is_isotropic = draw[2] < isotropic
    scatter = torch.where(is_isotropic, 1.0 - 2.0 * draw[1], screened)
    aside = ((1.0 - cosine.square()) * (1.0 - scatter.square())).clamp(min=0.0).sqrt()
    azimuth = torch.cos(2.0 * torch.pi * draw[3])
    return (cosine * scatter + aside * azimuth).clamp(-1.0, 1.0)
