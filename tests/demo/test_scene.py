"""What a demonstration shows, and what its report says."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api.schemas import TraceRow
from afdaemon.demo.report import write_picture, write_report
from afdaemon.demo.run import DemoRun, Shown
from afdaemon.demo.scene import largest_offset_um, set_scene
from afdaemon.errors import UsageError
from afdaemon.models.acnet.state import a_max_um
from afdaemon.sim.instrument.settings import WD_UM


@given(seed=st.integers(0, 10_000), magnification=st.integers(200, 40_000))
def test_a_scene_starts_within_its_promise_and_repeats(seed: int, magnification: int) -> None:
    scene = set_scene("tin_balls", seed=seed, magnification=magnification)
    assert scene == set_scene("tin_balls", seed=seed, magnification=magnification)
    offset_um = abs(scene.start_wd_um - scene.focus_wd_um)
    assert offset_um <= min(3.0 * a_max_um(magnification), 40.0 * scene.dof_um) + 1e-6
    assert WD_UM.holds(scene.start_wd_um)
    assert WD_UM.holds(scene.focus_wd_um)


def test_the_smaller_bound_counts() -> None:
    assert largest_offset_um(500) == pytest.approx(3_600.0, rel=1e-3)  # 3 A_max
    assert largest_offset_um(5_000) == pytest.approx(1_270.0)  # 40 DoF of 31.75 um


def test_a_given_offset_is_kept() -> None:
    scene = set_scene("tem_grid", seed=1, start_offset_um=-250.0)
    assert scene.start_wd_um - scene.focus_wd_um == pytest.approx(-250.0)


@pytest.mark.parametrize("offset", [1e6, -1e6, float("nan"), float("inf")])
def test_an_offset_out_of_reach_is_refused(offset: float) -> None:
    with pytest.raises(UsageError, match="start_offset_um"):
        set_scene("tem_grid", seed=1, start_offset_um=offset)


def a_run(**changes: object) -> Shown:
    values: dict[str, object] = {
        "specimen": "image:/tmp/<odd> name.png",
        "magnification": 1_000,
        "start_wd_um": 11_000.0,
        "best_wd_um": 12_010.0,
        "true_wd_um": 12_000.0,
        "final_wd_um": 12_010.0,
        "error_um": 10.0,
        "error_dof": 0.06,
        "score": 8.9,
        "readings": {"search": 2, "servo": 1, "verify": 1},
        "converged": True,
        "reason": "focused",
        "detail": "",
        "restored": False,
        "seconds": 1.234,
        "seed": 0,
        "dof_um": 158.75,
    }
    run = DemoRun(**{**values, **changes})  # type: ignore[arg-type]  # a table of mixed values
    frame = cv2.imencode(".jpg", np.zeros((24, 32), np.uint8))[1].tobytes()
    kinds = ("search", "search", "servo", "verify")
    trace = tuple(
        TraceRow(
            kind=kind,
            wd_um=11_000.0 + 300 * i,
            score=2.0 * i,
            contrast=0.2,
            variance=0.2,
            entropy=5.0,
        )
        for i, kind in enumerate(kinds)
    )
    return Shown(run=run, trace=trace, first_frame=frame, last_frame=frame)


def test_the_report_needs_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, [a_run(), a_run(converged=False, reason="not_found", score=None)], "cmd <x>")
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4
    assert page.count("<svg") == 2
    assert "&lt;odd&gt; name.png" in page
    assert "<odd>" not in page
    assert "cmd &lt;x&gt;" in page
    assert "true focus" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_a_report_of_a_lost_instrument_has_no_frames(tmp_path: Path) -> None:
    shown = a_run(converged=False, reason="device")
    bare = Shown(run=shown.run, trace=(), first_frame=b"", last_frame=b"")
    write_report(tmp_path / "report.html", [bare], "cmd")
    assert "device" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    write_picture(tmp_path / "run.png", a_run())
    assert cv2.imread(str(tmp_path / "run.png")) is not None
