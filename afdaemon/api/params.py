"""The params of every method. Strict: no unknown field, no text for a number, no NaN, no infinity."""

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

PROTOCOL = "1.3"
"""Version of this contract. Another major number is refused; a new minor number only adds."""

MAX_WAIT_S = 86_400.0
"""Longest wait a client may ask for: a day."""

RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
"""A UUID, or another name of letters, digits and `._:-`: it is also the job's id."""

WdUm = Annotated[float, Field(ge=0.0, le=1e6)]
Seconds = Annotated[float, Field(gt=0.0, le=MAX_WAIT_S)]
Magnification = Annotated[float, Field(gt=0.0, le=1e7)]
Dose = Annotated[float, Field(gt=0.0, le=1e12)]


_AS_OBJECT = Field(strict=False)
"""A field of this kind is made from a JSON object, whose content is checked as strictly as everything else."""


class Strict(BaseModel):
    """What a client sends: exactly the known fields, in exactly their types."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        frozen=True,
        defer_build=True,  # at first use: a client needs few of them, and importing it shall be quick
    )

    @classmethod
    def of(cls, document: object) -> Self:
        """The params in JSON that has been parsed already. Raises `ValidationError`."""
        read: Self = _adapter(cls).validate_python(document)
        return read


@cache
def _adapter(kind: type[Strict]) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[kind, _AS_OBJECT])  # type: ignore[arg-type]  # a type made at run time


class Request(Strict):
    """One call. Its id is used up for good: a repeated id gets the first answer and moves nothing."""

    jsonrpc: Literal["2.0"]
    id: RequestId | Annotated[int, Field(ge=0, le=2**53)]
    method: Annotated[str, Field(min_length=1, max_length=64)]
    params: dict[str, Any] = {}
    """Checked against the method's own params."""


class Meta(Strict):
    """What any call may say in addition to its own params."""

    protocol: Annotated[str, Field(pattern=r"^\d{1,4}\.\d{1,4}$")] = PROTOCOL
    """The contract the client was written for."""
    deadline_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    """Answer within this time, even if only with an error of kind `deadline`. A call that moves the
    instrument is still carried out to its end."""
    dry_run: bool = False
    """Check everything, move nothing."""


class NoParams(Strict):
    """A call without params of its own."""

    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)


Share = Annotated[float, Field(ge=0.0, le=1.0)]
_LEAST_SHARE = 0.4
"""Share of a frame's width and height: in a smaller region, score and spectrum say too little."""


class Region(Strict):
    """A part of the frame, as fractions of its width and height from the upper left corner."""

    x: Share
    y: Share
    width: Annotated[float, Field(ge=_LEAST_SHARE, le=1.0)]
    height: Annotated[float, Field(ge=_LEAST_SHARE, le=1.0)]

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for name, end in (("x + width", self.x + self.width), ("y + height", self.y + self.height)):
            if end > 1.0 + 1e-9:
                raise ValueError(f"{name} ({end:g}) must not exceed 1")
        return self


class WdRange(Strict):
    """A range of working distances."""

    min_um: WdUm
    max_um: WdUm

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min_um < self.max_um:
            raise ValueError(f"min_um ({self.min_um:g}) must be below max_um ({self.max_um:g})")
        return self


Distance = Annotated[float, Field(ge=1.0, le=1e9)]
"""Of a lens, um."""


class MotionParams(Strict):
    """How much a job may move the lens; it can only tighten what the daemon allows."""

    max_step_um: Distance | None = None
    """Longest step; a longer way is made in several."""
    max_travel_um: Distance | None = None
    """Longest way of all its moves together; the way home is always allowed."""


class AutofocusParams(Strict):
    """The params of a job."""

    profile: Literal["paper", "fast"] | None = None
    """Procedure; absent: the daemon's setting."""
    start_wd_um: WdUm | None = None
    """Where to begin; absent: at the present WD."""
    timeout_s: Seconds | None = None
    """End the job after this time and restore the start WD; absent: the daemon's setting."""
    limits: Annotated[WdRange, _AS_OBJECT] | None = None
    """This job's own range, within the daemon's limits."""
    motion: Annotated[MotionParams, _AS_OBJECT] | None = None
    """How much this job may move the lens; absent: what the daemon allows."""
    region: Annotated[Region, _AS_OBJECT] | None = None
    """Judge only this part of each frame; absent: the whole frame."""
    dose_limit_e_nm2: Dose | None = None
    """End the job before its dose exceeds this, in electrons per nm^2; absent: the daemon's setting."""
    ladder: bool | None = None
    """If the focus is out of capture range, search at lower magnifications, and come back to this one (fast
    procedure only); absent: the daemon's setting."""
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)

    @property
    def wish(self) -> dict[str, Any]:
        """What is asked of the job, as JSON without what is absent: it stays the same when params are added."""
        return self.model_dump(mode="json", exclude={"meta"}, exclude_none=True)


class JobParams(Strict):
    """Which job."""

    job: RequestId
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)


class WaitParams(JobParams):
    """Which job, and how long to wait for its end."""

    timeout_s: Annotated[float, Field(ge=0.0, le=MAX_WAIT_S)] = MAX_WAIT_S
    """When it has passed, the answer is the job as it then stands."""


Who = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,80}$")]
"""A short text without control characters."""


class AbortParams(Strict):
    """Which job to end; absent: the running one."""

    job: RequestId | None = None
    by: Who | None = None
    """Who or what ends it, for people: it appears in the job's detail."""
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)


class SinceParams(Strict):
    """Which events."""

    seq: Annotated[int, Field(ge=0, le=2**53)]
    """The number of the last event that you have; 0 for all that are kept."""
    most: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    """Answer with no more than so many, the oldest of them; ask again for the rest."""
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)


class JobListParams(Strict):
    """Which jobs."""

    most: Annotated[int, Field(ge=1, le=1_000)] = 20
    """No more than so many, the newest first."""
    before: RequestId | None = None
    """Only jobs that began before this one: the last of the page before."""
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)


class RecoverParams(Strict):
    """What to do about the restore that a job owes."""

    decline: bool = False
    """Leave the instrument where it is; the restore is then owed no longer."""
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)


class FocusSetParams(Strict):
    """An absolute working distance."""

    wd_um: WdUm
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)


class ScoreParams(Strict):
    """What to score: the image in the message's second frame, or else a frame taken now."""

    magnification: Magnification | None = None
    """Of the image; required with one, refused without."""
    meta: Annotated[Meta, _AS_OBJECT] = Field(default_factory=Meta)
