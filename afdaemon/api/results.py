"""What the daemon answers and publishes. Read leniently, so that a client understands a newer daemon."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator


class Reply(BaseModel):
    """What the daemon answers. Unknown fields are ignored by the reader; never NaN on the wire."""

    model_config = ConfigDict(
        extra="ignore",
        allow_inf_nan=False,
        frozen=True,
        defer_build=True,  # as for params: at first use
    )


class ErrorData(Reply):
    """What a program needs to know about an error, in addition to its message."""

    kind: str
    """What went wrong, as a word to branch on: `busy`, `limit`, `device`, `invalid_params`, ..."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    remedy: str = ""
    """What to do next."""
    details: dict[str, JsonValue] = {}


class RpcError(Reply):
    """A refusal."""

    code: int
    message: str
    data: ErrorData


class Response(Reply):
    """The answer to one call: a result or an error. `id` is null if the request's is unreadable."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: str | int | None
    result: JsonValue = None
    error: RpcError | None = None


class JobState(StrEnum):
    """Where a job stands. `interrupted`: the daemon ended under it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    NOT_CONVERGED = "not_converged"
    ABORTED = "aborted"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


class Hello(Reply):
    """Who answers."""

    protocol: str
    version: str
    instance: str
    """A new one after every start of the daemon."""
    capabilities: list[str]
    """Names of the methods."""
    max_request_bytes: int
    max_image_bytes: int
    state: str
    role: str = ""
    """What this client may do: viewer, automation, operator or admin."""


class Pong(Reply):
    """The daemon is there."""

    instance: str
    pong: Literal[True] = True


class MicroscopeStatus(Reply):
    """The instrument, as last seen."""

    name: str
    connected: bool
    why_down: str = ""
    """Why there is no link, in words; empty while there is one."""
    remedy: str = ""
    """What to do about that."""
    wd_um: float | None = None
    magnification: float | None = None


class Progress(Reply):
    """A running job after its latest step. Also the data of `progress` events."""

    job: str
    profile: str = "paper"
    phase: str
    """What comes next: prepare, search, servo, finish, confirm, adjust, restore or done."""
    kind: str | None = None
    """What the newest reading was for: search, servo or verify; absent where none was taken since the last progress."""
    reading: int = 0
    """Readings so far."""
    readings_max: int | None = None
    """Most readings by the end of the phase, where it has a bound."""
    wd_um: float | None = None
    magnification: float | None = None
    score: float | None = None
    best_wd_um: float | None = None
    best_score: float | None = None
    """Best of the readings at this magnification."""
    seconds: float = 0.0
    """Since the job began."""


class Owed(Reply):
    """A restore that a job owes: it ended, or was interrupted, away from its start."""

    job: str
    since_utc: str
    """When the job began."""
    start_wd_um: float | None = None
    start_magnification: float | None = None
    detail: str = ""
    """What happened, for people."""
    remedy: str = ""
    """What to do next."""


class JournalStatus(Reply):
    """Where jobs are recorded, and whether they can be."""

    path: str
    kept: int = 0
    """How many entries wait in the daemon's memory until they can be written. Meanwhile no job begins."""
    detail: str = ""
    """Why they wait."""
    remedy: str = ""


class Fault(Reply):
    """In what the instrument did not do what it was told."""

    detail: str
    remedy: str = ""
    """What to do next."""


class Status(Reply):
    """The daemon at a glance. Also the data of `state` events."""

    instance: str
    version: str
    state: str
    """ready, busy, fault, no_microscope or stopping."""
    uptime_s: float
    microscope: MicroscopeStatus
    job: Progress | None = None
    """The running job."""
    last_job: str | None = None
    """The one that ended last."""
    owed: Owed | None = None
    """A restore that could not be carried out; `job.recover` does it, or declines it."""
    interrupted: str | None = None
    """The job that the daemon's last end interrupted, until another one begins; `owed` tells whether it had moved."""
    journal: JournalStatus | None = None
    fault: Fault | None = None
    """The instrument did not do what it was told; no job begins until `fault.reset`."""
    models: dict[str, str] = {}
    """Hashes of the networks' weights by name."""
    vendor: str | None = None
    """Where the vendor door listens; null where it is not enabled."""


class ReadingCounts(Reply):
    """Readings used, by purpose."""

    search: int = 0
    servo: int = 0
    verify: int = 0


class Measured(Reply):
    """What was measured in a frame."""

    score: float
    """0 (out of focus) .. 9."""
    contrast: float
    """Standard deviation over mean of the grey values."""
    variance: Annotated[float | None, Field(deprecated="renamed to contrast")] = None
    """The same under its old name."""
    entropy: float
    """Bits."""
    saturated: float = 0.0
    """Fraction of pixels at either end of the grey scale."""
    streaked: bool = False
    """Charging left streaks; the frame was judged without them."""
    masked: float = 0.0
    """Fraction of the frame that is no specimen (a border, prints) and was left out."""
    mask: str = ""
    """What that was; empty if nothing was left out."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_daemon(cls, told: Any) -> Any:
        """Until protocol 1.0, contrast was reported only as variance."""
        if isinstance(told, dict) and "contrast" not in told and "variance" in told:
            return {**told, "contrast": told["variance"]}
        return told


class TraceRow(Measured):
    """One reading of a job, in the order taken."""

    kind: str
    """search, servo or verify."""
    wd_um: float
    magnification: float | None = None
    seconds: float = 0.0
    """When its frame arrived, since the job began."""


class Job(Reply):
    """A job as it stands; from `converged` on, what is not known yet is null or empty."""

    job: str
    state: JobState
    profile: str = "paper"
    converged: bool = False
    reason: str | None = None
    """`focused` is the only success."""
    detail: str = ""
    start_wd_um: float | None = None
    wd_um: float | None = None
    """Where the instrument was left."""
    best_wd_um: float | None = None
    score: float | None = None
    """At `best_wd_um`, or up to a depth of focus before the last step that led there."""
    readings: ReadingCounts = Field(default_factory=ReadingCounts)
    moves: int | None = None
    """How many moves were commanded; null where that is not known."""
    restored: bool = False
    """Whether the instrument is back at the start WD and the start magnification."""
    start_magnification: float | None = None
    magnification: float | None = None
    """At which the instrument was left."""
    dose_e_nm2: float = 0.0
    """Dose on the specimen, in electrons per nm^2; 0 if the daemon does not know the beam current."""
    drift_um_per_min: float | None = None
    """How fast the best WD moved during the job; null where its readings cannot tell."""
    drift_error_um_per_min: float | None = None
    """Standard deviation of that."""
    drift_noticed: bool = False
    """It moved beyond doubt, and enough to matter: the detail says so too."""
    seconds: float = 0.0
    trace: list[TraceRow] = []
    models: dict[str, str] = {}
    """Hashes of the networks' weights by name."""


class Started(Reply):
    """A job was accepted (or would be: `dry_run`). Its id is that of the request."""

    job: str
    state: JobState = JobState.QUEUED
    dry_run: bool = False


class Aborted(Reply):
    """Which job is being ended; null if none is running. Its actual end follows as an event."""

    job: str | None = None
    too_late: bool = False
    """The job was ending by itself already, and its own reason stands. Else it ends as `aborted`."""


class Recovered(Reply):
    """What became of the restore that a job owed. `job` is null if nothing was owed."""

    job: str | None = None
    restored: bool = False
    """Whether the instrument was brought back, and read back there."""
    detail: str = ""
    wd_um: float | None = None
    magnification: float | None = None


class FaultReset(Reply):
    """Jobs may begin again. `was` says in what the instrument had not done what it was told; null if nothing."""

    was: str | None = None


class Focus(Reply):
    """Where the instrument stands (or would: `dry_run`)."""

    wd_um: float
    magnification: float | None = None
    dry_run: bool = False
    detail: str = ""
    """What else there is to know, such as that the journal cannot be written."""


class Range(Reply):
    """A range of working distances."""

    min_um: float
    max_um: float


class Limits(Range):
    """What WD may be commanded now: the narrowest of all that apply."""

    hard: Range
    """What the instrument can reach."""
    site: Range | None = None
    """What is allowed here."""


class Score(Measured):
    """What was measured in one image."""

    magnification: float
    width_px: int
    height_px: int
    wd_um: float | None = None
    """Of a frame taken now."""
    bands: list[tuple[float, float]] = []
    """Of a frame taken now: spatial frequencies (cycles per pixel as judged), and the logarithms of the power there."""


class OpenRpc(Reply):
    """The contract itself, as an OpenRPC document."""

    openrpc: str
    info: dict[str, JsonValue]
    methods: list[dict[str, JsonValue]]
    components: dict[str, JsonValue]


class Event(Reply):
    """One message of the event socket; its first frame is the topic, its second this."""

    seq: int
    """Increases by one with every event of an instance; a gap means that events were lost."""
    instance: str
    time: str
    """RFC 3339, UTC."""
    topic: str
    """`state`, `job.<id>`, `log`, or `welcome...` in answer to a subscription."""
    type: str
    """progress, state, result, error, log or welcome."""
    request_id: str | None = None
    data: dict[str, JsonValue] = {}


class Missed(Reply):
    """What a subscriber missed, oldest first, and how things stand now."""

    events: list[Event]
    latest: int
    """The number of the latest event; smaller than the one asked for if the daemon was started anew."""
    lost: int = 0
    """So many of those asked for are kept no longer."""
    status: Status


class JobSummary(Reply):
    """A job in a list."""

    job: str
    state: JobState
    began_utc: str
    profile: str = "paper"
    reason: str | None = None
    detail: str = ""
    start_wd_um: float | None = None
    wd_um: float | None = None
    """Where the instrument was left."""
    score: float | None = None
    readings: int = 0


class JobList(Reply):
    """Jobs, the newest first."""

    jobs: list[JobSummary]
