"""What can be set: the sections, their keys, defaults and bounds. `afdaemon.config` fills them.

A setting is named `section.key` everywhere, with its unit in the name.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from afdaemon.drivers.registry import link_names, setting_names
from afdaemon.drivers.wire import aisem, stream
from afdaemon.paths import runtime_dir, state_dir

PORTS = {"aisem": aisem.DEFAULT_PORT, "stream": stream.DEFAULT_PORT}
WdUm = Annotated[float, Field(ge=100.0, le=200_000.0)]
Seconds = Annotated[float, Field(ge=0.001, le=3600.0)]
ScoreValue = Annotated[float, Field(ge=0.0, le=9.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of every group of settings: immutable, no unknown keys, no NaN, no true for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if (
            isinstance(value, bool)
            and cls.model_fields[str(info.field_name)].annotation is not bool
        ):
            raise ValueError("neither true nor false")
        return value

    def in_use(self) -> tuple[str, ...]:
        """The keys that mean something, as the others are set."""
        return tuple(type(self).model_fields)


def _name_links(schema: dict[str, Any]) -> None:
    schema["enum"] = list(link_names())


class MicroscopeSettings(Section):
    """How to reach the instrument: the link, and the settings of its driver. Each link takes only its own."""

    link: str = Field(
        "aisem",
        description="driver: aisem (the vendor program's socket and drop folder), stream (the bridge"
        " on the vendor's PC), usb (a frame grabber), or one that a package offers",
        json_schema_extra=_name_links,
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="aisem, stream: where the other side listens"
    )
    port: int = Field(
        default_factory=lambda known: PORTS.get(known.get("link"), aisem.DEFAULT_PORT),
        ge=1,
        le=65535,
        description="its TCP port; absent: 9025 for aisem, 9030 for stream",
    )
    folder: Path = Field(
        Path("/var/lib/aisem"), description="aisem: drop folder that both programs see"
    )
    vendor_id: int = Field(
        0x1209, ge=0, le=0xFFFF, description="usb: the device's vendor id, as lsusb tells it"
    )
    product_id: int = Field(0x0001, ge=0, le=0xFFFF, description="usb: its product id")
    serial: str = Field(
        "", description="usb: its serial number, where there are several; empty: the only one"
    )
    connect_timeout_s: Seconds = Field(2.0, description="longest wait for a connection")
    reply_timeout_s: Seconds = Field(
        2.0, description="longest wait for the answer to a command; a bridge itself waits 1 s"
    )
    frame_timeout_s: Seconds = Field(3.5, description="longest wait for a usable frame")
    ask_again_s: Seconds = Field(
        1.5, description="a frame that has not come by then is asked again"
    )
    half_written_s: Seconds = Field(
        0.75, description="aisem: a half-written frame is given up after this"
    )
    poll_s: Seconds = Field(0.02, description="aisem: pause between two looks into the drop folder")
    cut_off_s: Seconds = Field(
        0.3, description="stream, usb: a message that stops in its middle is given up after this"
    )
    ping_s: Seconds = Field(
        2.0, description="stream, usb: a peer silent for so long is asked for a sign of life"
    )
    wd_tolerance_um: float = Field(
        2.0, gt=0.0, le=1000.0, description="how far a WD read back may lie from its command"
    )
    max_dropped_in_row: int = Field(
        5, ge=1, le=1000, description="so many unusable frames in a row are a failure"
    )
    reconnect_first_s: Seconds = Field(0.25, description="first pause before connecting again")
    reconnect_cap_s: Seconds = Field(
        default_factory=lambda known: 1.0 if known.get("link") == "usb" else 3.0,
        description="longest pause before connecting again; absent: 3, for usb 1",
    )
    options: dict[str, Any] = Field(
        {}, description="the settings, as a table, of a link that a package offers"
    )

    @field_validator("link")
    @classmethod
    def _is_there(cls, link: str) -> str:
        if link not in link_names():
            raise ValueError("there is no such link")
        return link

    @model_validator(mode="after")
    def _of_this_link(self) -> Self:
        used = self.in_use()
        for key in sorted(self.model_fields_set):
            if key not in used:
                raise ValueError(
                    f"the link {self.link} has no {key}; besides link, it has {', '.join(used[1:])}"
                )
        return self

    def in_use(self) -> tuple[str, ...]:
        """The keys that mean something for this link."""
        own = setting_names(self.link)
        keys = ("options",) if own is None else own
        return tuple(key for key in type(self).model_fields if key == "link" or key in keys)

    def of_driver(self) -> dict[str, Any]:
        """What the link's driver is given."""
        if setting_names(self.link) is None:
            return dict(self.options)
        return self.model_dump(include=set(self.in_use()) - {"link"})


class LimitSettings(Section):
    """Absolute working distances that may be commanded. ASSUMED: an EM-30 can do 5 to 50 mm."""

    hard_min_um: WdUm = Field(5_000.0, description="shortest WD the instrument can take")
    hard_max_um: WdUm = Field(50_000.0, description="longest WD the instrument can take")
    site_min_um: WdUm | None = Field(
        None, description="shortest WD allowed here; absent: the hard limit"
    )
    site_max_um: WdUm | None = Field(
        None, description="longest WD allowed here; absent: the hard limit"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.hard_min_um < self.hard_max_um:
            raise ValueError(
                f"hard_min_um ({self.hard_min_um:g}) must be below"
                f" hard_max_um ({self.hard_max_um:g})"
            )
        low, high = self.site_um
        if not self.hard_min_um <= low < high <= self.hard_max_um:
            raise ValueError(
                f"site_min_um ({low:g}) must be below site_max_um ({high:g}), both within"
                f" the hard limits {self.hard_min_um:g} to {self.hard_max_um:g}"
            )
        return self

    @property
    def site_um(self) -> tuple[float, float]:
        """The site's range (um); where it says nothing, the instrument's."""
        low = self.hard_min_um if self.site_min_um is None else self.site_min_um
        high = self.hard_max_um if self.site_max_um is None else self.site_max_um
        return low, high


class ControlSettings(Section):
    """Which procedure jobs follow, and the numbers of the published one: how it searches, steps and stops."""

    profile: Literal["paper", "fast"] = Field(
        "fast", description="procedure: the published one, or the fast one"
    )
    timeout_s: Seconds = Field(
        180.0, description="a job that takes longer is ended and the start WD restored"
    )
    approach_um: float = Field(
        0.0, ge=0.0, le=1000.0, description="moves to shorter WDs go so much too far first (um)"
    )
    search_score: ScoreValue = Field(2.0, description="a score above this ends the search")
    stride_fraction: float = Field(
        1 / 3, ge=0.01, le=1.0, description="stride of the search, as a fraction of A_max"
    )
    search_window_a_max: float = Field(
        4.0, ge=0.0, le=1000.0, description="how far it goes to either side, in A_max; 0: all of it"
    )
    halvings: int = Field(2, ge=0, le=6, description="how often the stride is halved")
    both_directions: bool = Field(True, description="search towards shorter WD too")
    min_search_readings: int = Field(1, ge=1, le=100, description="least readings of a search")
    max_search_readings: int = Field(
        200,
        ge=0,
        le=100_000,
        description="most readings of a search; 0: as many as the range holds",
    )
    searches: int = Field(
        3, ge=1, le=100, description="how often it begins, or goes on where a servo found no focus"
    )
    stop_score: ScoreValue = Field(9.0, description="a score that cannot be bettered")
    patience: int = Field(5, ge=1, le=100, description="stop after so many without a new best")
    new_best_margin: ScoreValue = Field(
        0.05, description="a best score is a new one if it is higher by more than this"
    )
    max_servo_readings: int = Field(20, ge=1, le=1000, description="most readings of the servo")
    min_step_um: float = Field(0.01, ge=0.0, le=1000.0, description="a shorter step is not sent")
    most_step_dof: float = Field(
        4.0,
        ge=1.0,
        le=1000.0,
        description="longest servo step in DoF if calibrated; else A_max, as published",
    )
    fail_score: ScoreValue = Field(3.0, description="a best score below this is a failure")
    retries: int = Field(1, ge=0, le=10, description="how often the servo starts again then")
    verify_drop: ScoreValue = Field(
        3.0, description="the verifying score may be so much below the one it verifies"
    )
    tie_margin: ScoreValue = Field(
        0.0, description="the start WD wins if its score comes this close to the best"
    )
    flat_variance: float = Field(
        0.02, ge=0.0, le=10.0, description="a frame with std / mean below this shows nothing"
    )
    saturated_fraction: Fraction = Field(
        0.5, description="a frame with more saturated pixels than this shows nothing"
    )


class FastSettings(Section):
    """How a job of the fast procedure moves and stops. Distances in depths of focus (DoF)."""

    sure: float = Field(
        0.94, ge=0.5, le=0.999, description="probability of ending within 1 DoF at which to stop"
    )
    sure_drop: Fraction = Field(
        0.1, description="so much less suffices with each reading after four: it tells little more"
    )
    least_sure: float = Field(0.6, ge=0.5, le=0.999, description="but never less than this")
    near_dof: float = Field(
        0.7, ge=0.05, le=1.0, description="and the last step, that no reading follows, no longer"
    )
    fewest_readings: int = Field(
        3, ge=1, le=100, description="it does not stop before so many near each other"
    )
    most_readings: int = Field(16, ge=1, le=1000, description="it gives up after so many")
    probe_dof: float = Field(
        4.0, ge=1.0, le=50.0, description="how far it steps aside where it can't tell the sides"
    )
    most_step_dof: float = Field(150.0, ge=1.0, le=10_000.0, description="no step is longer")
    far_dof: float = Field(
        90.0, ge=10.0, le=200.0, description="a focus farther away can't be told where it is"
    )
    stride_dof: float = Field(
        165.0, ge=1.0, le=1000.0, description="stride of the search then; half of it uncalibrated"
    )
    stray_readings: int = Field(
        6, ge=2, le=1000, description="it searches too after so many low scores in a row"
    )
    most_looks_around: int = Field(
        4, ge=0, le=10_000, description="most readings of that search if the first told something"
    )
    most_search_readings: int = Field(
        200, ge=0, le=10_000, description="most readings of that search if it did not"
    )
    close_dof: float = Field(
        8.0,
        ge=1.0,
        le=100.0,
        description="around a low peak, and before it gives up, it looks closely: so far apart",
    )
    most_close_looks: int = Field(6, ge=0, le=1000, description="and so often, each")
    ladder: bool = Field(
        False, description="before it searches, look at lower magnifications, which see further"
    )
    lowest_magnification: float = Field(
        500.0, ge=20.0, le=1e6, description="but at none below this"
    )
    fail_score: ScoreValue = Field(3.0, description="no success with a score below this")
    agreed_drop: ScoreValue = Field(
        2.0, description="nor with one so much below the best seen elsewhere"
    )
    trusted_score: ScoreValue = Field(
        7.5, description="where it would give up, a higher one that was seen is verified"
    )
    settle_margin: ScoreValue = Field(
        0.5, description="where a score was higher by more than this, the job ends there"
    )
    flat_variance: float = Field(
        0.02, ge=0.0, le=1.0, description="a frame with std / mean below this shows nothing"
    )
    saturated_fraction: Fraction = Field(
        0.5, description="a frame with more saturated pixels than this shows nothing"
    )
    alpha_mrad: float = Field(5.0, ge=0.1, le=100.0, description="convergence semi-angle")
    calibrated: bool = Field(
        False, description="whether that angle was measured; else it may be off by a factor of 2"
    )

    @model_validator(mode="after")
    def _room_to_stop(self) -> Self:
        if self.most_readings < self.fewest_readings:
            raise ValueError(
                f"most_readings ({self.most_readings}) must not be below"
                f" fewest_readings ({self.fewest_readings})"
            )
        return self


class DoseSettings(Section):
    """What a dose is reckoned from, and how much a job may take. The instrument tells neither number."""

    current_pa: float | None = Field(
        None, gt=0.0, description="beam current (pA); without it no dose is counted"
    )
    dwell_ns: float = Field(400.0, gt=0.0, description="time on a pixel (ns)")
    limit_e_nm2: float | None = Field(
        None, gt=0.0, description="a job ends before it takes more, electrons per square nanometre"
    )

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.limit_e_nm2 is not None and self.current_pa is None:
            raise ValueError("limit_e_nm2 needs current_pa: without it no dose is counted")
        return self


class CalibrationSettings(Section):
    """What was measured of this very instrument."""

    file: Path | None = Field(
        None, description="file of `afctl calibrate`; its angle is used instead of fast.alpha_mrad"
    )
    most_days: float = Field(365.0, gt=0.0, description="an older one is refused")


class ModelSettings(Section):
    """The networks and where they run."""

    aenet: str = Field(
        "default", min_length=1, description="scorer's weights: default, or a .safetensors file"
    )
    acnet: str = Field(
        "default", min_length=1, description="step law's weights: default, or a .safetensors file"
    )
    defocus: str = Field(
        "default", min_length=1, description="fast law's weights: default, or a .safetensors file"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the scorer runs; auto: the GPU if there is one"
    )
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads of one score; absent: chosen for this machine"
    )


class ApiSettings(Section):
    """Where clients connect."""

    runtime_dir: Path = Field(
        default_factory=runtime_dir,
        description="folder of the sockets control.sock, abort.sock and events.sock",
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, JSON lines otherwise"
    )


class JournalSettings(Section):
    """Where jobs are recorded, durably, before anything moves."""

    path: Path = Field(
        default_factory=lambda: state_dir() / "journal",
        description="the journal; its folder is made if it is not there",
    )


class Settings(Section):
    """Everything that can be set."""

    microscope: MicroscopeSettings = MicroscopeSettings()
    limits: LimitSettings = LimitSettings()
    control: ControlSettings = ControlSettings()
    fast: FastSettings = FastSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    dose: DoseSettings = DoseSettings()
    models: ModelSettings = ModelSettings()
    api: ApiSettings = Field(default_factory=ApiSettings)
    log: LogSettings = LogSettings()
    journal: JournalSettings = Field(default_factory=JournalSettings)
