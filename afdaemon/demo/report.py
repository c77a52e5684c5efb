"""The demonstration's report: one self-contained HTML file."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from afdaemon.demo.run import DemoRun, Shown
from afdaemon.drivers.wire.image import decode_grey
from afdaemon.sim.truth import focus_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"search": "#4c78a8", "servo": "#f58518", "verify": "#54a24b"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 74rem; padding: 0 1rem; color: #222 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
.run { display: grid; grid-template-columns: repeat(2, 1fr); gap: 1rem } .run svg { grid-column: 1 / 3; width: 100%;
height: auto } figure { margin: 0 } img { width: 100%; image-rendering: pixelated; border: 1px solid #ccc }
figcaption { color: #555 } table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right;
border-bottom: 1px solid #ddd } td:first-child, th:first-child { text-align: left }
.good { color: #2a7 } .bad { color: #b33 }
"""


def write_report(path: Path, shown: Sequence[Shown], command: str) -> None:
    """Write the report of some runs, made by `command`.

    Raises:
        OSError: the file cannot be written.
    """
    body = "".join(_section(index, one) for index, one in enumerate(shown))
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>afdaemon: autofocus report</title>'
        f"<style>{_STYLE}</style><h1>Autofocus on a simulated EM-30</h1>"
        "<p>Every frame comes from the simulator; no real instrument was involved. Made by "
        f"<code>{html.escape(command)}</code>.</p>{_table([one.run for one in shown])}{body}</html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _table(runs: Sequence[DemoRun]) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in ("specimen", "magnification", "began", "ended", "score", "readings", "reason")
    )
    rows = "".join(
        f"<tr><td>{html.escape(_short(run))}</td><td>{run.magnification}x</td>"
        f"<td>{run.start_error_um / run.dof_um:.1f} DoF</td>"
        f"<td>{run.final_error_um / run.dof_um:.2f} DoF</td>"
        f"<td>{_number(run.score)}</td><td>{sum(run.readings.values())}</td>"
        f'<td class="{"good" if run.converged else "bad"}">{run.reason}</td></tr>'
        for run in runs
    )
    return f"<table><tr>{head}</tr>{rows}</table><p>DoF: depth of focus, 2 pixels / convergence angle.</p>"


def _short(run: DemoRun) -> str:
    kind, _, path = run.specimen.partition(":")
    return Path(path).name if path else kind


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _section(index: int, shown: Shown) -> str:
    run = shown.run
    where = "focused" if run.converged else "where it was left"
    return (
        f"<h2>{index + 1}. {html.escape(_short(run))} at {run.magnification}x</h2>"
        f"<p>{html.escape(run.detail)}</p>"
        f'<div class="run">{_figure(shown.first_frame, f"start, WD {run.start_wd_um / 1000:.3f} mm")}'
        f"{_figure(shown.last_frame, f'{where}, WD {run.final_wd_um / 1000:.3f} mm')}{_curve(shown)}</div>"
    )


def _figure(jpeg: bytes, caption: str) -> str:
    if not jpeg:
        return f"<figure><figcaption>{caption}: no frame came</figcaption></figure>"
    data = base64.b64encode(jpeg).decode()
    return (
        f'<figure><img alt="{caption}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _curve(shown: Shown) -> str:
    """Focus curve as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 3.6), layout="constrained")
    _draw_curve(figure.add_subplot(), shown)
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text)  # type: ignore[no-untyped-call]  # has no types
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def write_picture(path: Path, shown: Shown) -> None:
    """One run as a PNG: first frame, last frame, focus curve.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.6), layout="constrained", dpi=96)
    axes = figure.subplot_mosaic("ab;cc", height_ratios=(3, 2))
    for name, jpeg, title in (
        ("a", shown.first_frame, "start"),
        ("b", shown.last_frame, "focused"),
    ):
        axes[name].imshow(decode_grey(jpeg), cmap="gray", vmin=0, vmax=255)
        axes[name].set(title=title, xticks=[], yticks=[])
    _draw_curve(axes["c"], shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_curve(axes: "Axes", shown: Shown) -> None:
    """Every reading in order, the true focus marked, the label curve behind."""
    run = shown.run
    wds_um = [row.wd_um for row in shown.trace] or [run.start_wd_um]
    low, high = min([*wds_um, run.true_wd_um]), max([*wds_um, run.true_wd_um])
    margin = 0.05 * (high - low) + run.dof_um
    x_um = np.linspace(low - margin, high + margin, 801)
    truth = [focus_score(2.0 * abs(x - run.true_wd_um) / run.dof_um) for x in x_um]
    axes.plot(x_um / 1000.0, truth, color="#ccc", label="label curve")
    axes.axvline(run.true_wd_um / 1000.0, color="#b33", linestyle="--", label="true focus")
    axes.plot(
        np.array(wds_um) / 1000.0, [r.score for r in shown.trace] or [0.0], color="#bbb", lw=0.6
    )
    for kind, colour in _COLOURS.items():
        rows = [row for row in shown.trace if row.kind == kind]
        axes.plot(
            [row.wd_um / 1000.0 for row in rows],
            [row.score for row in rows],
            "o",
            color=colour,
            label=f"{kind} ({len(rows)})",
        )
    axes.set(xlabel="working distance / mm", ylabel="focus score", ylim=(-0.3, 9.4))
    axes.legend(loc="upper left", fontsize="small")
