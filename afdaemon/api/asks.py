"""What a client can ask: one typed request per method, for the synchronous and the asyncio client."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from afdaemon.api import schemas as s
from afdaemon.api.wire import MAX_IMAGE_BYTES, params_of
from afdaemon.errors import UsageError

R = TypeVar("R", bound=s.Reply)

ANSWER_S = 5.0
"""Longest wait for an answer that needs no work."""
_WORK_S = 60.0
"""Longest wait for one that needs a move, a frame or the networks."""
SLICE_S = 1.0
"""A job is awaited in slices of this length, so that the loss of the daemon is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Generic[R]):
    """A call: its method, params, the type of its result, and how long its answer may take."""

    method: str
    params: s.Strict
    result: type[R]
    timeout_s: float = ANSWER_S
    image: bytes | None = None


def hello() -> Ask[s.Hello]:
    """Who answers."""
    return Ask(method="server.hello", params=s.NoParams(), result=s.Hello)


def ping() -> Ask[s.Pong]:
    """Whether it answers."""
    return Ask(method="server.ping", params=s.NoParams(), result=s.Pong)


def status() -> Ask[s.Status]:
    """The daemon at a glance."""
    return Ask(method="server.status", params=s.NoParams(), result=s.Status)


def start(params: s.AutofocusParams) -> Ask[s.Started]:
    """Start a job."""
    return Ask(method="autofocus.start", params=params, result=s.Started, timeout_s=_WORK_S)


def autofocus_params(
    *,
    profile: str | None = None,
    start_wd_um: float | None = None,
    timeout_s: float | None = None,
    range_um: tuple[float, float] | None = None,
    region: tuple[float, float, float, float] | None = None,
    dose_limit_e_nm2: float | None = None,
    ladder: bool | None = None,
    max_step_um: float | None = None,
    max_travel_um: float | None = None,
    dry_run: bool = False,
) -> s.AutofocusParams:
    """The params of a job; `range_um` is its own shortest and longest WD.

    `region` is the part of each frame that is judged: left, top, width, height, as fractions of the frame. With
    `ladder`, the fast procedure searches at lower magnifications for a focus out of capture range. `max_step_um` and
    `max_travel_um` are the longest step of the lens and its longest way.
    """
    limits = part = motion = None
    if max_step_um is not None or max_travel_um is not None:
        motion = params_of(s.MotionParams, max_step_um=max_step_um, max_travel_um=max_travel_um)
    if region is not None:
        x, y, width, height = region
        part = params_of(s.Region, x=x, y=y, width=width, height=height)
    if range_um is not None:
        limits = params_of(s.WdRange, min_um=range_um[0], max_um=range_um[1])
    return params_of(
        s.AutofocusParams,
        profile=profile,
        start_wd_um=start_wd_um,
        timeout_s=timeout_s,
        limits=limits,
        motion=motion,
        region=part,
        dose_limit_e_nm2=dose_limit_e_nm2,
        ladder=ladder,
        meta=s.Meta(dry_run=dry_run),
    )


def job(job_id: str) -> Ask[s.Job]:
    """A job as it stands."""
    return Ask(method="job.get", params=params_of(s.JobParams, job=job_id), result=s.Job)


def jobs(most: int, before: str | None) -> Ask[s.JobList]:
    """Jobs, newest first; those that began before one of them."""
    params = params_of(s.JobListParams, most=most, before=before)
    return Ask(method="job.list", params=params, result=s.JobList)


def since(seq: int) -> Ask[s.Missed]:
    """Events after a number."""
    return Ask(method="events.since", params=params_of(s.SinceParams, seq=seq), result=s.Missed)


def wait(job_id: str, timeout_s: float) -> Ask[s.Job]:
    """A job when it has ended, or as it stands after `timeout_s`."""
    params = params_of(s.WaitParams, job=job_id, timeout_s=timeout_s)
    return Ask(method="job.wait", params=params, result=s.Job, timeout_s=timeout_s + ANSWER_S)


def abort(job_id: str | None, by: str | None) -> Ask[s.Aborted]:
    """End a job; `by` says who or what ends it."""
    params = params_of(s.AbortParams, job=job_id, by=by)
    return Ask(method="job.abort", params=params, result=s.Aborted)


def recover(*, decline: bool) -> Ask[s.Recovered]:
    """Carry out the restore that a job owes, or decline it."""
    params = params_of(s.RecoverParams, decline=decline)
    return Ask(method="job.recover", params=params, result=s.Recovered, timeout_s=_WORK_S)


def reset() -> Ask[s.FaultReset]:
    """Somebody has looked after the instrument."""
    return Ask(method="fault.reset", params=s.NoParams(), result=s.FaultReset)


def focus() -> Ask[s.Focus]:
    """Where the instrument stands."""
    return Ask(method="focus.get", params=s.NoParams(), result=s.Focus, timeout_s=_WORK_S)


def set_focus(wd_um: float, *, dry_run: bool) -> Ask[s.Focus]:
    """Command an absolute WD."""
    params = params_of(s.FocusSetParams, wd_um=wd_um, meta=s.Meta(dry_run=dry_run))
    return Ask(method="focus.set", params=params, result=s.Focus, timeout_s=_WORK_S)


def limits() -> Ask[s.Limits]:
    """The range that may be commanded."""
    return Ask(method="focus.limits", params=s.NoParams(), result=s.Limits)


def score(image: bytes | Path | None, magnification: float | None) -> Ask[s.Score]:
    """Score an image file, its bytes, or a frame taken now.

    Raises:
        UsageError: the file can't be read, or is larger than the daemon takes.
    """
    params = params_of(s.ScoreParams, magnification=magnification)
    data = _bytes_of(image) if isinstance(image, Path) else image
    if data is not None and len(data) > MAX_IMAGE_BYTES:
        raise UsageError(f"the image has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are allowed")
    return Ask(method="frame.score", params=params, result=s.Score, timeout_s=_WORK_S, image=data)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
