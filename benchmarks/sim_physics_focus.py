"""Depth of focus, width of the label curve, and astigmatism, from the shape of points in simulated frames.

A uniform disc of radius R has the variance R^2 / 4 along each axis; the dot's own size and the probe add terms that do
not depend on defocus. So a straight line through variance over defocus squared gives the convergence angle, free of
both.
"""

import asyncio
import math
from collections.abc import Sequence

import numpy as np
from sim_targets import ALPHA_RAD, HEIGHT_PX, WIDTH_PX, Camera, Dots, Field, camera, pixel_um

from afdaemon.clock import ManualClock
from afdaemon.evaluate.section import Bar
from afdaemon.sim.instrument.settings import ColumnSettings, InstrumentSettings
from afdaemon.sim.instrument.world import World

MAGNIFICATIONS = (500.0, 2_000.0, 8_000.0, 20_000.0)
PLATEAUS_UM = {500.0: 1_200.0, 20_000.0: 36.0}
"""Published action limits at the two ends."""
SPACING_PX = 80
RADII_PX = (0.0, 3.0, 5.0, 7.0, 9.0, 11.0)
HALF_SCORE_PX = 4.0
ASTIGMATIC_MAGNIFICATION = 10_000.0
DIRECTIONS_DEG = (0.0, 25.0, 100.0)


def dots(
    magnification: float, seed: int, astigmatism_um: tuple[float, float] = (0.0, 0.0)
) -> Camera:
    pixel = pixel_um(magnification)
    target = Dots(spacing_um=SPACING_PX * pixel, radius_um=0.6 * pixel)
    return camera(target, seed, astigmatism_um=astigmatism_um)


def moments(frame: Field) -> Field:
    """Covariance (2, 2) of a dot's image in pixels squared, from the mean over all dots.

    Taken over twice the disc that it gives, iterated until that is stable (after ISO 11146): noise far from the dot
    would weigh most.
    """
    frame = frame[SPACING_PX // 2 : -SPACING_PX // 2]  # a dot lies in the middle of each cell
    rows, columns = HEIGHT_PX // SPACING_PX - 1, WIDTH_PX // SPACING_PX
    cells = frame.reshape(rows, SPACING_PX, columns, SPACING_PX).mean(axis=(0, 2))
    border = np.concatenate([cells[:6].ravel(), cells[-6:].ravel()])
    at = np.arange(SPACING_PX) - 0.5 * (SPACING_PX - 1)
    x, y = np.meshgrid(at, at)
    shape, reach = np.eye(2), 16.0
    for _ in range(8):
        weight = np.where(np.hypot(x, y) < reach, cells - border.mean(), 0.0)
        weight /= weight.sum()
        dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
        xx, xy, yy = ((weight * product).sum() for product in (dx * dx, dx * dy, dy * dy))
        shape = np.array([[xx, xy], [xy, yy]])
        reach = 3.0 + 4.0 * math.sqrt(max(float(np.linalg.eigvalsh(shape)[1]), 0.0))
    return shape


def blur_slope(magnification: float, seed: int) -> float:
    """Blur radius in pixels per um of defocus, measured on both sides of focus."""
    target = dots(magnification, seed)
    expected = ALPHA_RAD / pixel_um(magnification)
    steps = np.array([sign * radius / expected for radius in RADII_PX for sign in (1.0, -1.0)])
    variance = [0.5 * np.trace(moments(target.photograph(magnification, at))) for at in steps]
    return float(2.0 * math.sqrt(np.polyfit(steps**2, variance, 1)[0]))


def curve_width_um(magnification: float, seed: int) -> float:
    """Full width at half height of 9 / (1 + (b / 4)^2), b measured at each step of a sweep through focus."""
    target = dots(magnification, seed)
    expected = ALPHA_RAD / pixel_um(magnification)
    steps = np.arange(-8.0, 8.01, 0.5) / expected
    spread = np.array(
        [0.5 * np.trace(moments(target.photograph(magnification, at))) for at in steps]
    )
    radius = 2.0 * np.sqrt(np.maximum(spread - spread.min(), 0.0))
    score = 9.0 / (1.0 + (radius / HALF_SCORE_PX) ** 2)
    return half_width(steps, score)


async def instrument_width_um(magnification: float, seed: int) -> float:
    """The same width from the instrument: its WD swept by commands, the true score queried after each has settled."""
    best_um, expected_um = 12_000.0, 8.0 * pixel_um(magnification) / ALPHA_RAD
    column = ColumnSettings(
        astigmatism_x_um=0.0,
        astigmatism_y_um=0.0,
        hysteresis_um=0.0,
        drift_um_per_min=0.0,
        wander_um=0.0,
    )
    world = World(
        InstrumentSettings(
            magnification=round(magnification),
            seed=seed,
            focus_wd_um=best_um,
            alpha_mrad=1e3 * ALPHA_RAD,
            column=column,
        ),
        clock=ManualClock(),
    )
    steps = np.linspace(best_um - expected_um, best_um + expected_um, 161)
    score = []
    for wd_um in steps:
        world.command(float(wd_um), round(magnification))
        await world.settle()
        score.append(world.truth().score)
    return half_width(steps, np.array(score))


def half_width(at: Field, score: Field) -> float:
    """Full width at half of a score of 9."""
    middle = int(score.argmax())
    left = np.interp(4.5, score[: middle + 1], at[: middle + 1])
    right = np.interp(4.5, score[middle:][::-1], at[middle:][::-1])
    return float(right - left)


def line_foci(direction: float, apart_um: float, seed: int) -> tuple[float, float, float]:
    """(um between the line foci, error of the streaks' directions in deg, their turn through focus in deg)."""
    vector = (apart_um * math.cos(2.0 * direction), apart_um * math.sin(2.0 * direction))
    target = dots(ASTIGMATIC_MAGNIFICATION, seed, astigmatism_um=vector)
    steps = np.linspace(-apart_um, apart_um, 17)
    shapes = np.array([moments(target.photograph(ASTIGMATIC_MAGNIFICATION, at)) for at in steps])
    angles = [
        streak(shape)
        for shape in (
            shapes[np.abs(steps + 0.5 * apart_um).argmin()],
            shapes[np.abs(steps - 0.5 * apart_um).argmin()],
        )
    ]
    foci = []
    for at in (direction, direction + 0.5 * math.pi):
        axis = np.array([math.cos(at), math.sin(at)])
        parabola = np.polyfit(steps, np.einsum("i,nij,j->n", axis, shapes, axis), 2)
        foci.append(-0.5 * parabola[1] / parabola[0])
    errors = (between(angles[0], direction), between(angles[1], direction + 0.5 * math.pi))
    return foci[0] - foci[1], math.degrees(max(errors)), math.degrees(between(*angles))


def streak(shape: Field) -> float:
    """Direction of the long axis in rad."""
    return 0.5 * math.atan2(2.0 * shape[0, 1], shape[0, 0] - shape[1, 1])


def between(angle: float, other: float) -> float:
    """Angle between two undirected lines in rad, 0 to pi / 2."""
    turned = (angle - other) % math.pi
    return min(turned, math.pi - turned)


def _depth(
    seed: int, magnifications: Sequence[float]
) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    lines = [
        "Depth of focus and width of the label curve at half height, in um",
        f"{'magnification':>13} {'DoF':>8} {'theory':>8} {'curve, from points':>18}"
        f" {'swept by command':>16} {'theory':>8} {'published':>9}",
    ]
    rows: list[dict[str, object]] = []
    depth_off, width_off, plateau_off = [], [], []
    for magnification in magnifications:
        unit_um = pixel_um(magnification) / ALPHA_RAD
        depth_um = 2.0 / blur_slope(magnification, seed)
        widths_um = (
            curve_width_um(magnification, seed),
            asyncio.run(instrument_width_um(magnification, seed)),
        )
        published_um = PLATEAUS_UM.get(magnification)
        depth_off.append(abs(depth_um / (2.0 * unit_um) - 1.0))
        width_off += [abs(width / (8.0 * unit_um) - 1.0) for width in widths_um]
        if published_um is not None:
            plateau_off += [abs(width / published_um - 1.0) for width in widths_um]
        rows.append(
            {
                "section": "depth",
                "magnification": magnification,
                "dof_um": depth_um,
                "dof_theory_um": 2.0 * unit_um,
                "label_fwhm_um": widths_um[0],
                "label_fwhm_swept_um": widths_um[1],
                "label_fwhm_theory_um": 8.0 * unit_um,
            }
        )
        lines.append(
            f"{magnification:13.0f} {depth_um:8.2f} {2.0 * unit_um:8.2f} {widths_um[0]:18.1f}"
            f" {widths_um[1]:16.1f} {8.0 * unit_um:8.1f} {published_um or '-':>9}"
        )
    bars = [
        _within("depth of focus within 5 % of 2 pixel / alpha", depth_off, 0.05),
        _within("width of the label curve within 5 % of 8 pixel / alpha", width_off, 0.05),
        _within("its width within 15 % of 1200 um at 500x and 36 um at 20 000x", plateau_off, 0.15),
    ]
    return lines, bars, rows


def _within(name: str, errors: list[float], bar: float) -> Bar:
    return Bar(name, max(errors) <= bar, f"worst {100 * max(errors):.1f} %")


def _astigmatism(
    seed: int, directions_deg: Sequence[float]
) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    apart_um = 12.0 * pixel_um(ASTIGMATIC_MAGNIFICATION) / ALPHA_RAD
    lines = [
        f"Astigmatism at {ASTIGMATIC_MAGNIFICATION:.0f}x, line foci set {apart_um:.1f} um apart",
        f"{'direction deg':>13} {'foci apart um':>13} {'streak off deg':>14} {'turn deg':>9}",
    ]
    rows: list[dict[str, object]] = []
    for direction in directions_deg:
        seen_um, off, turn = line_foci(math.radians(direction), apart_um, seed)
        rows.append(
            {
                "section": "astigmatism",
                "direction_deg": direction,
                "foci_apart_um": seen_um,
                "set_um": apart_um,
                "streak_off_deg": off,
                "turn_deg": turn,
            }
        )
        lines.append(f"{direction:13.0f} {seen_um:13.2f} {off:14.2f} {turn:9.2f}")
    foci = [abs(float(str(row["foci_apart_um"])) / apart_um - 1.0) for row in rows]
    turns = [float(str(row["turn_deg"])) for row in rows]
    strays = [float(str(row["streak_off_deg"])) for row in rows]
    bars = [
        _within("line foci within 5 % of where the optics puts them", foci, 0.05),
        Bar(
            "the streak turns by 90 degrees through focus, within 3",
            max(abs(turn - 90.0) for turn in turns) <= 3.0 and max(strays) <= 3.0,
            f"{min(turns):.1f} to {max(turns):.1f}, off its axis by at most {max(strays):.1f}",
        ),
    ]
    return lines, bars, rows


def measure(seed: int, quick: bool) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    depth = _depth(seed, tuple(PLATEAUS_UM) if quick else MAGNIFICATIONS)
    astigmatism = _astigmatism(seed, DIRECTIONS_DEG[1:2] if quick else DIRECTIONS_DEG)
    return (
        [*depth[0], "", *astigmatism[0]],
        [*depth[1], *astigmatism[1]],
        [*depth[2], *astigmatism[2]],
    )
