"""What the simulator knows and no link carries: the ground truth, and what was commanded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Commanded:
    """A WD (um) that was commanded at `time_s` of the world's clock."""

    time_s: float
    wd_um: float
    magnification: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The ground truth at present, which only the simulator knows.

    `wd_um` is where the beam has its crossover, `lens_wd_um` what the lens current stands for: the one lies
    `hysteresis_um` beyond the other. `focus_wd_um` is the best WD of the field that the last frame showed: that of the
    specimen's plane, `plane_wd_um`, less the height of its detail `height_um` (0 before the first frame). It has
    drifted by `drift_um`. `dof_um`, `blur_px` (larger semi-axis of the defocus ellipse) and `score` are those of the
    present magnification at 320 pixels; `alpha_rad` and `probe_nm` are those of the present WD. `age_s` is the time
    that drift depends on.
    """

    seed: int
    specimen: str
    alpha_rad: float
    magnification: int
    start_wd_um: float
    focus_wd_um: float
    wd_um: float
    dof_um: float
    frames: int
    commands: tuple[Commanded, ...]
    plane_wd_um: float
    height_um: float
    lens_wd_um: float
    hysteresis_um: float
    drift_um: float
    astigmatism_x_um: float
    astigmatism_y_um: float
    probe_nm: float
    kv: float
    blur_px: float
    score: float
    stage_x_um: float
    stage_y_um: float
    stage_moves: bool
    rotation_rad: float
    age_s: float
