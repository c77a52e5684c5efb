"""Small bright particles of all sizes: what lies about on every real specimen."""

import numpy as np

from afdaemon.sim.specimens.stamps import Canvas, hide_sky, spots
from afdaemon.sim.specimens.texture import octaves_um, scatter, stream_of
from afdaemon.sim.surface import FloatImage, Patch

_SMALLEST_CELL_PX = 6.0


def strew(
    canvas: Canvas,
    patch: Patch,
    cells_um: tuple[float, float],
    *,
    seed: int,
    stream: int,
    share: float,
    yields: tuple[float, float],
) -> None:
    """Lay irregular grains on `canvas`, at most one a cell of `cells_um`, of (secondary, backscatter) `yields`."""
    for k, cell_um in octaves_um(*cells_um)[::-1]:
        if cell_um < _SMALLEST_CELL_PX * patch.step_um:
            continue
        grains = scatter(
            patch,
            cell_um,
            seed=seed,
            stream=stream_of(stream, k),
            share=share,
            radii=(0.06, 0.3),
        )
        hide_sky(canvas, grains, reach=1.6)
        for where in spots(grains, canvas.shape, 1.3):
            r_px, u, v = (where.of(values) for values in (grains.r, grains.u, grains.v))
            rho = np.sqrt(where.dx * where.dx + where.dy * where.dy)
            outline = _outline(where.dx, where.dy, u, v)
            cover = np.clip((outline - rho) * r_px + 0.5, 0.0, 1.0)
            facing = np.sqrt(np.clip(1.0 - (rho / outline) ** 2, 0.0, 1.0))
            relief = 0.07 / (facing + 0.25) + np.float32(0.07) * (where.dx - where.dy)
            secondary = yields[0] - 0.12 + 0.2 * u + relief
            canvas.blend(where, cover, secondary, yields[1] + 0.0 * secondary)
            below = canvas.height_um[where.at]
            canvas.raise_to(where, cover, below + r_px * np.float32(patch.step_um) * facing)


def _outline(dx: FloatImage, dy: FloatImage, u: FloatImage, v: FloatImage) -> FloatImage:
    """Radius of a lumpy grain towards each spot: a circle with two and three bumps."""
    rho2 = dx * dx + dy * dy + np.float32(1e-6)
    cos2, sin2 = (dx * dx - dy * dy) / rho2, 2.0 * dx * dy / rho2
    rho3 = rho2 * np.sqrt(rho2)
    cos3 = dx * (dx * dx - 3.0 * dy * dy) / rho3
    turn = np.float32(2.0 * np.pi) * v
    twofold = cos2 * np.cos(turn) + sin2 * np.sin(turn)
    return np.asarray(0.85 + 0.22 * u * twofold + 0.12 * (1.0 - u) * cos3, dtype=np.float32)
