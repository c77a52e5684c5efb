"""Every method of the API with its params and its result: one table for both ends and the docs."""

from dataclasses import dataclass

from afdaemon.api import schemas as s
from afdaemon.api.access.roles import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a call takes and returns, and the least role that may make it.

    `moves`: it may move the instrument; `starts`: it begins a job, whose id is that of the request; `waits`: it waits
    for a job's end.
    """

    params: type[s.Strict]
    result: type[s.Reply]
    role: Role
    summary: str
    moves: bool = False
    starts: bool = False
    waits: bool = False


METHODS: dict[str, Method] = {
    "server.hello": Method(
        params=s.NoParams,
        result=s.Hello,
        role=Role.VIEWER,
        summary="Who answers, in which protocol, with which methods and limits.",
    ),
    "server.ping": Method(
        params=s.NoParams,
        result=s.Pong,
        role=Role.VIEWER,
        summary="Whether it answers (also on the abort socket).",
    ),
    "server.status": Method(
        params=s.NoParams,
        result=s.Status,
        role=Role.VIEWER,
        summary="The daemon, the instrument, the running job.",
    ),
    "autofocus.start": Method(
        params=s.AutofocusParams,
        result=s.Started,
        role=Role.AUTOMATION,
        summary="Start a job and answer at once. A repeated id never moves anything twice.",
        moves=True,
        starts=True,
    ),
    "autofocus.run": Method(
        params=s.AutofocusParams,
        result=s.Job,
        role=Role.AUTOMATION,
        summary="Start a job and answer when it has ended.",
        moves=True,
        starts=True,
        waits=True,
    ),
    "job.get": Method(
        params=s.JobParams, result=s.Job, role=Role.VIEWER, summary="A job as it stands."
    ),
    "job.list": Method(
        params=s.JobListParams,
        result=s.JobList,
        role=Role.VIEWER,
        summary="Jobs, the running one and those of the past, newest first.",
    ),
    "job.wait": Method(
        params=s.WaitParams,
        result=s.Job,
        role=Role.VIEWER,
        summary="A job when it has ended, or after timeout_s.",
        waits=True,
    ),
    "job.abort": Method(
        params=s.AbortParams,
        result=s.Aborted,
        role=Role.AUTOMATION,
        summary="End a job; the start WD is restored (also on the abort socket). Others' jobs are for operators.",
    ),
    "job.recover": Method(
        params=s.RecoverParams,
        result=s.Recovered,
        role=Role.OPERATOR,
        summary="Bring the instrument back to where an interrupted or failed job began; status says if one owes it.",
        moves=True,
    ),
    "fault.reset": Method(
        params=s.NoParams,
        result=s.FaultReset,
        role=Role.OPERATOR,
        summary="Somebody has looked after an instrument that did not do what it was told: jobs may begin again.",
    ),
    "focus.get": Method(
        params=s.NoParams,
        result=s.Focus,
        role=Role.VIEWER,
        summary="The instrument's WD and magnification.",
    ),
    "focus.set": Method(
        params=s.FocusSetParams,
        result=s.Focus,
        role=Role.AUTOMATION,
        summary="Command an absolute WD. Outside the limits it is refused, never clipped.",
        moves=True,
    ),
    "focus.limits": Method(
        params=s.NoParams,
        result=s.Limits,
        role=Role.VIEWER,
        summary="The range that may be commanded.",
    ),
    "frame.score": Method(
        params=s.ScoreParams,
        result=s.Score,
        role=Role.AUTOMATION,
        summary="Score the image in the second frame (PNG, TIFF, JPEG), or a frame taken now.",
    ),
    "events.since": Method(
        params=s.SinceParams,
        result=s.Missed,
        role=Role.VIEWER,
        summary="Events after a number, for a subscriber that came late or lost some; and the status now.",
    ),
    "rpc.discover": Method(
        params=s.NoParams, result=s.OpenRpc, role=Role.VIEWER, summary="This contract."
    ),
}

ABORT_METHODS = ("job.abort", "server.ping")
"""The methods that the abort socket answers, however busy the rest is."""


def build() -> None:
    """Build the models of all methods now, for a daemon: otherwise each is built when the first request needs it."""
    for method in METHODS.values():
        method.params.model_rebuild()
        method.result.model_rebuild()
