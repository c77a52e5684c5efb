"""Small bright particles of all sizes: what lies about on every real specimen."""

import numpy as np

from afdaemon.sim.specimens.painting import Canvas, Spots, hide_sky, spots
from afdaemon.sim.specimens.texture import Particles, octaves_um, scatter, stream_of
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
    mask: FloatImage | None = None,
) -> None:
    """Lay irregular grains on `canvas`, at most one per cell of `cells_um`, of (secondary, backscatter) `yields`.

    With `mask` they lie only where it is 1, and are too shallow to shade what is beside them.
    """
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
        if mask is None:
            hide_sky(canvas, grains, reach=1.6)
        for where in spots(grains, canvas.shape, 1.2):
            _paint(canvas, grains, where, patch.step_um, yields, mask)


def _paint(
    canvas: Canvas,
    grains: Particles,
    where: Spots,
    step_um: float,
    yields: tuple[float, float],
    mask: FloatImage | None,
) -> None:
    r_px, u, v = (where.of(values) for values in (grains.r, grains.u, grains.v))
    out, lit = _facets(where.dx, where.dy, u, v)
    cover = np.clip((1.0 - out) * 0.75 * r_px + 0.5, 0.0, 1.0)
    if mask is not None:
        cover = cover * mask[where.at]
    flank = np.clip((out - (0.3 + 0.3 * u)) * r_px * 0.5 + 0.5, 0.0, 1.0)
    edge = np.exp(-(((1.0 - out) * r_px / (0.6 + 0.08 * r_px)) ** 2))
    worn = 0.05 * np.sin(9.0 * where.dx + 20.0 * u) * np.sin(8.0 * where.dy + 30.0 * v)
    secondary = yields[0] - 0.1 + 0.2 * v + 0.13 * flank * lit + 0.14 * edge + worn
    canvas.blend(where, cover, secondary, yields[1] + 0.03 * lit)
    below = canvas.height_um[where.at]
    height = np.clip(2.0 * (1.0 - out), 0.0, 1.0) * r_px * np.float32(step_um)
    canvas.raise_to(where, cover, below + height)


def _facets(
    dx: FloatImage, dy: FloatImage, u: FloatImage, v: FloatImage
) -> tuple[FloatImage, FloatImage]:
    """A broken grain of five flanks: how far out each spot is (1 at the outline), how far it faces the detector."""
    out = np.zeros_like(dx + dy)
    lit = np.zeros_like(out)
    for number in range(5):
        angle = np.float32(2.0 * np.pi) * (
            v + 0.2 * number + 0.16 * np.mod(u * (7 + 6 * number), 1.0)
        )
        reach = 0.55 + 0.4 * np.mod(v * (11 + 5 * number) + u, 1.0)
        cos, sin = np.cos(angle), np.sin(angle)
        towards = (dx * cos + dy * sin) / reach
        np.copyto(lit, np.broadcast_to(cos - sin, out.shape), where=towards > out)
        np.maximum(out, towards, out=out)
    return out, lit
