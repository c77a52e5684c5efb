"""Every method of the API with its params and its result: one table for both ends and the docs."""

from dataclasses import dataclass

from afdaemon.api import schemas as s


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a call takes and returns.

    `moves`: it may move the instrument; `starts`: it begins a job, whose id is that of the request; `waits`: it waits
    for a job's end.
    """

    params: type[s.Strict]
    result: type[s.Reply]
    summary: str
    moves: bool = False
    starts: bool = False
    waits: bool = False


METHODS: dict[str, Method] = {
    "server.hello": Method(
        params=s.NoParams,
        result=s.Hello,
        summary="Who answers, in which protocol, with which methods and limits.",
    ),
    "server.ping": Method(
        params=s.NoParams, result=s.Pong, summary="Whether it answers (also on the abort socket)."
    ),
    "server.status": Method(
        params=s.NoParams, result=s.Status, summary="The daemon, the instrument, the running job."
    ),
    "autofocus.start": Method(
        params=s.AutofocusParams,
        result=s.Started,
        summary="Start a job and answer at once. A repeated id never moves anything twice.",
        moves=True,
        starts=True,
    ),
    "autofocus.run": Method(
        params=s.AutofocusParams,
        result=s.Job,
        summary="Start a job and answer when it has ended.",
        moves=True,
        starts=True,
        waits=True,
    ),
    "job.get": Method(params=s.JobParams, result=s.Job, summary="A job as it stands."),
    "job.wait": Method(
        params=s.WaitParams,
        result=s.Job,
        summary="A job when it has ended, or after timeout_s.",
        waits=True,
    ),
    "job.abort": Method(
        params=s.AbortParams,
        result=s.Aborted,
        summary="End a job; the start WD is restored (also on the abort socket).",
    ),
    "job.recover": Method(
        params=s.RecoverParams,
        result=s.Recovered,
        summary="Bring the instrument back to where an interrupted or failed job began; status says if one owes it.",
        moves=True,
    ),
    "fault.reset": Method(
        params=s.NoParams,
        result=s.FaultReset,
        summary="Somebody has looked after an instrument that did not do what it was told: jobs may begin again.",
    ),
    "focus.get": Method(
        params=s.NoParams, result=s.Focus, summary="The instrument's WD and magnification."
    ),
    "focus.set": Method(
        params=s.FocusSetParams,
        result=s.Focus,
        summary="Command an absolute WD. Outside the limits it is refused, never clipped.",
        moves=True,
    ),
    "focus.limits": Method(
        params=s.NoParams, result=s.Limits, summary="The range that may be commanded."
    ),
    "frame.score": Method(
        params=s.ScoreParams,
        result=s.Score,
        summary="Score the image in the second frame (PNG, TIFF, JPEG), or a frame taken now.",
    ),
    "rpc.discover": Method(params=s.NoParams, result=s.OpenRpc, summary="This contract."),
}

ABORT_METHODS = ("job.abort", "server.ping")
"""The methods that the abort socket answers, however busy the rest is."""


def build() -> None:
    """Build the models of all methods now, for a daemon: otherwise each is built when the first request needs it."""
    for method in METHODS.values():
        method.params.model_rebuild()
        method.result.model_rebuild()
